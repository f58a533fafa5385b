"""A file says of itself what MediaPipe and LiteRT need to open it, and computes what it did."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from exporters import tflite_metadata
from inference.artifacts import open_artifact
from inference.signature import LOGITS, Signature
from inference.view import View

SIZE = 16
NAMES = ("red", "grün, or green", "blue  or\nnearly so")
SIGNATURE = Signature("some_network", SIZE, NAMES, View("efficientnet"), weights="ema")


@pytest.fixture(scope="module")
def bare() -> bytes:
    """A network that sees which color is strongest: softmax of the mean of each channel."""

    @tf.function(autograph=False)
    def serve(images):
        patches = tf.nn.conv2d(images, tf.constant(np.eye(3), tf.float32, [1, 1, 3, 3]), 1, "SAME")
        return tf.nn.softmax(tf.reduce_mean(patches, axis=[1, 2]) / 64)

    spec = tf.TensorSpec([1, SIZE, SIZE, 3], tf.float32)
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function(spec)], tf.Module()
    ).convert()


@pytest.fixture(scope="module")
def described(bare: bytes) -> bytes:
    return tflite_metadata.with_metadata(bare, SIGNATURE, "Apache-2.0")


@pytest.fixture(scope="module")
def path(described: bytes, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("metadata") / "colors.tflite"
    path.write_bytes(described)
    return path


def _color(index: int) -> np.ndarray:
    pixels = np.full([SIZE, SIZE, 3], 40, np.uint8)
    pixels[..., index] = 200
    return pixels


def test_mediapipe_opens_the_file_without_configuration(path: Path):
    vision = pytest.importorskip("mediapipe.tasks.python.vision")
    import mediapipe as mp

    with vision.ImageClassifier.create_from_model_path(str(path)) as classifier:
        for index, name in enumerate(("red", "grün, or green", "blue or nearly so")):
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=_color(index))
            best = classifier.classify(image).classifications[0].categories[0]
            assert best.category_name == name
            # The means are 200, 40 and 40.
            expected = 1 / (1 + 2 * np.exp(-160 / 64))
            assert best.score == pytest.approx(expected, abs=1e-5)


def test_mediapipes_schema_reads_what_was_written(described: bytes):
    generated = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(described, 0)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    content = bytes(model.buffers[entry.buffer].data)
    assert generated.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    metadata = generated.ModelMetadataT.InitFromPackedBuf(content, 0)
    assert metadata.name == b"some_network"
    assert metadata.license == b"Apache-2.0"
    assert metadata.minParserVersion == b"1.0.0"
    assert b"RGB, 16 x 16 pixels, values 0 to 255" in metadata.description
    assert [file.name for file in metadata.associatedFiles] == [b"signature.json"]
    (graph,) = metadata.subgraphMetadata
    (image,), (scores,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    properties = image.content.contentProperties
    assert image.content.contentPropertiesType == generated.ContentProperties.ImageProperties
    assert properties.colorSpace == generated.ColorSpaceType.RGB
    assert (properties.defaultSize.width, properties.defaultSize.height) == (SIZE, SIZE)
    (unit,) = image.processUnits
    assert unit.optionsType == generated.ProcessUnitOptions.NormalizationOptions
    assert (list(unit.options.mean), list(unit.options.std)) == ([0.0], [1.0])
    assert (list(image.stats.min), list(image.stats.max)) == ([0.0], [255.0])
    (labels,) = scores.associatedFiles
    kind = generated.AssociatedFileType.TENSOR_AXIS_LABELS
    assert (labels.name, labels.type) == (b"labels.txt", kind)
    assert scores.name == b"probability"


def test_the_file_holds_its_class_names_and_its_signature(described: bytes, path: Path):
    with zipfile.ZipFile(io.BytesIO(described)) as archive:
        # MediaPipe reads the files where they lie.
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        lines = archive.read("labels.txt").decode().splitlines()
    assert lines == ["red", "grün, or green", "blue or nearly so"]
    assert open_artifact(path).signature == SIGNATURE


def test_weights_are_aligned_and_answers_the_same(bare: bytes, described: bytes):
    """16 bytes, as `force_align` of the schema demands."""
    model = schema.Model.GetRootAs(described, 0)
    start = np.frombuffer(described, np.uint8).__array_interface__["data"][0]
    places = []
    for index in range(model.BuffersLength()):
        data = model.Buffers(index).DataAsNumpy()
        if isinstance(data, np.ndarray) and data.size:
            places.append(data.__array_interface__["data"][0] - start)
    assert len(places) > 2
    assert [place % 16 for place in places] == [0] * len(places)
    assert np.array_equal(_run(bare), _run(described))


def test_metadata_are_replaced_as_a_whole(described: bytes, bare: bytes):
    other = Signature("another", SIZE, ("a", "b", "c"), View("vgg"), output=LOGITS)
    replaced = tflite_metadata.with_metadata(described, other, "MIT")
    assert replaced == tflite_metadata.with_metadata(bare, other, "MIT")
    assert b"some_network" not in replaced


def _run(model: bytes) -> np.ndarray:
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    image = np.random.default_rng(1).uniform(0, 255, [1, SIZE, SIZE, 3]).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
