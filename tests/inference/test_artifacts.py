"""Exported files opened in their own runtimes, and what they say about themselves."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from common.errors import DataError
from inference import artifacts, signature
from inference.artifacts import open_artifact
from inference.signature import LOGITS, Signature
from inference.view import View

SIZE, CLASSES = 8, 3
SIGNATURE = Signature("lenet", SIZE, ("a", "b", "ç"), View("efficientnet"), output=LOGITS)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A linear classifier of mean colors in every format; its weights are the identity."""
    import tensorflow as tf
    import tf2onnx

    folder = tmp_path_factory.mktemp("files")
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)
    model = tf.Module()
    model.serve = tf.function(
        lambda images: {"logits": tf.reduce_mean(images, [1, 2]) / 100}, input_signature=[spec]
    )
    concrete = model.serve.get_concrete_function()
    tf.saved_model.save(model, str(folder / "saved"), signatures={"serving_default": concrete})
    (folder / "saved" / "assets.extra").mkdir()
    (folder / "saved" / "assets.extra" / signature.FILE_NAME).write_text(SIGNATURE.to_json())

    fixed = tf.function(model.serve.python_function, autograph=False)
    fixed = fixed.get_concrete_function(tf.TensorSpec([2, SIZE, SIZE, 3], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([fixed], model)
    (folder / "net.tflite").write_bytes(converter.convert())
    with zipfile.ZipFile(folder / "net.tflite", "a") as archive:
        archive.writestr(signature.FILE_NAME, SIGNATURE.to_json())

    proto, _ = tf2onnx.convert.from_function(model.serve, input_signature=[spec], opset=15)
    entry = proto.metadata_props.add()
    entry.key, entry.value = signature.PROPERTY, SIGNATURE.to_json()
    (folder / "net.onnx").write_bytes(proto.SerializeToString())
    return folder


@pytest.mark.parametrize("name", ["saved", "net.tflite", "net.onnx"])
def test_a_file_gives_the_probabilities_of_its_network(files, name):
    """Five images: the TFLite file takes two at a time. Softmax is applied to logits."""
    artifact = open_artifact(files / name)
    images = np.random.default_rng(1).uniform(0, 255, [5, SIZE, SIZE, 3]).astype(np.float32)
    logits = images.astype(np.float64).mean(axis=(1, 2)) / 100
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(artifact.probabilities(images), expected, rtol=1e-5)
    assert artifact.signature == SIGNATURE
    assert (artifact.image_size, artifact.num_classes) == (SIZE, CLASSES)
    assert artifact.batch_size == (2 if name == "net.tflite" else None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.tflite", None, "does not exist"),
        ("text.txt", b"hello", "is not a SavedModel, a TFLite file or an .onnx file"),
        ("cut.tflite", b"\x1c\0\0\0TFL3", "cannot be opened"),
        ("cut.onnx", b"\x08\x07", "cannot be opened"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        open_artifact(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_quantized_images_are_rounded_and_clipped():
    """By hand, for value = 2 * (quantized - 10) in uint8."""
    details = {"dtype": np.uint8, "quantization": (2.0, 10)}
    images = np.array([-30.0, 0.0, 2.9, 3.1, 600.0], np.float32)
    np.testing.assert_array_equal(artifacts._quantized(images, details), [0, 10, 11, 12, 255])
    values = np.array([0, 10, 12], np.uint8)
    np.testing.assert_array_equal(artifacts._dequantized(values, details), [-20.0, 0.0, 4.0])


def test_a_signature_survives_json_and_ignores_later_fields():
    text = SIGNATURE.to_json()
    assert signature.from_json(text, "file") == SIGNATURE
    assert signature.from_json(text[:-1] + ', "later": 1}', "file") == SIGNATURE
    with pytest.raises(DataError, match=r"file: its signature\.json"):
        signature.from_json("{}", "file")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("class_names", "abç"),
        ("class_names", [["a"], ["b"], ["c"]]),
        ("output", "logit"),
        ("model", "../elsewhere"),
        ("resize_method", "cubic"),
        ("eval_crop_fraction", 875),
    ],
)
def test_a_signature_with_another_meaning_is_refused(field, value):
    """Each would be used: as three names, as probabilities, as a path, as another view."""
    fields = json.loads(SIGNATURE.to_json())
    (fields["view"] if field in fields["view"] else fields)[field] = value
    with pytest.raises(DataError, match=f"not one of export.py's: {field} is "):
        signature.from_json(json.dumps(fields), "file")


def foreign(path, outputs, dtype="FLOAT", inputs=1):
    """Writes an ONNX file of another program, which returns mean colors: their sum is 1 or not."""
    onnx = pytest.importorskip("onnx")
    make, types = onnx.helper, onnx.TensorProto
    names = [f"in{number}" for number in range(inputs)]
    nodes = [make.make_node("Constant", [], ["scale"], value_float=0.01)]
    if names:
        nodes += [
            make.make_node("Cast", [names[0]], ["pixels"], to=types.FLOAT),
            make.make_node("ReduceMean", ["pixels"], ["colors"], axes=[1, 2], keepdims=0),
            make.make_node("Mul", ["colors", "scale"], ["logits"]),
            make.make_node("Softmax", ["logits"], ["Probabilities"]),
        ]
    shape = ["batch", SIZE, SIZE, 3]
    given = [make.make_tensor_value_info(n, getattr(types, dtype), shape) for n in names]
    results = [make.make_tensor_value_info(name, types.FLOAT, None) for name in outputs]
    graph = make.make_graph(nodes, "foreign", given, results)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("dtype", ["FLOAT", "FLOAT16", "UINT8"])
def test_a_foreign_file_takes_its_own_type_and_answers_with_its_probabilities(tmp_path, dtype):
    """Pixels are whole numbers below 2048, which every type holds exactly."""
    artifact = open_artifact(foreign(tmp_path / "f.onnx", ["colors", "Probabilities"], dtype))
    images = np.random.default_rng(2).integers(0, 256, [2, SIZE, SIZE, 3]).astype(np.float32)
    logits = images.astype(np.float64).mean(axis=(1, 2)) / 100
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(artifact.probabilities(images), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outputs": ["colors", "logits"]}, r"has 2 outputs \(colors, logits\)"),
        ({"outputs": ["pixels"]}, r"returns values of shape \[1, 8, 8, 3\] for one image"),
        ({"outputs": ["logits"], "dtype": "INT64"}, r"takes tensor\(int64\), no image"),
        ({"outputs": ["scale"], "inputs": 0}, "has 0 inputs; a classifier has one"),
    ],
)
def test_a_foreign_file_that_is_no_classifier_is_refused(tmp_path, arguments, message):
    with pytest.raises(DataError, match=message):
        open_artifact(foreign(tmp_path / "f.onnx", **arguments))


def test_logits_of_a_foreign_file_are_no_probabilities(tmp_path):
    artifact = open_artifact(foreign(tmp_path / "f.onnx", ["colors"]))
    with pytest.raises(DataError, match="returns no probabilities, but values like 200: write it"):
        artifact.probabilities(np.full([1, SIZE, SIZE, 3], 200, np.float32))


@pytest.mark.parametrize("damage", [lambda b: b[:-10], lambda b: b.replace(b'"view"', b'"wiev"')])
def test_a_damaged_signature_does_not_make_a_foreign_file(files, tmp_path, damage):
    """Without its signature the classes and the view of the file would be guessed."""
    (tmp_path / "net.tflite").write_bytes(damage((files / "net.tflite").read_bytes()))
    with pytest.raises(DataError, match=r"is damaged: its signature\.json cannot be read"):
        open_artifact(tmp_path / "net.tflite")
