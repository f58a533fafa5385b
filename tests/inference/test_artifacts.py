"""Exported files opened in their own runtimes, and what they say about themselves."""

from __future__ import annotations

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
