"""Describes a TFLite file in itself, as LiteRT and MediaPipe tasks read it.

The metadata are a flatbuffer of their own, in a buffer of the model named TFLITE_METADATA. The
files it names, class names and signature, are an uncompressed zip after the model's last byte.
Packages that write both are tflite-support, which current Pythons cannot install, and MediaPipe,
whose writer imports a module that its wheel lacks. So the ten tables needed are written here.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from inference.signature import FILE_NAME as SIGNATURE_FILE
from inference.signature import LOGITS, Signature

LABELS_FILE = "labels.txt"
_BUFFER_NAME = b"TFLITE_METADATA"
_MODEL_IDENTIFIER, _METADATA_IDENTIFIER = b"TFL3", b"M001"
# The first version of the schema has all that is used here.
_MIN_PARSER_VERSION = "1.0.0"
# The runtime maps weights into memory where they lie: the schema asks for this alignment in bytes.
_BUFFER_ALIGNMENT = 16
# Values of enumerations and unions in metadata_schema.fbs.
_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1
_NORMALIZATION_OPTIONS = 1
_RGB = 1
_DESCRIPTIONS, _AXIS_LABELS = 1, 2
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def with_metadata(model: bytes, signature: Signature, license_text: str) -> bytes:
    """Returns a TFLite file with metadata, class names and signature; it replaces those it has.

    Args:
        model: A TFLite file with one input, the image, and one output, the classes.
        license_text: Of the weights, as the metadata name it.
    """
    from ai_edge_litert import schema_py_generated as schema

    parsed: Any = schema.ModelT.InitFromPackedBuf(model, 0)  # typed as if no field were bytes
    entries = {entry.name: entry for entry in parsed.metadata or ()}
    if _BUFFER_NAME not in entries:
        entries[_BUFFER_NAME] = schema.MetadataT(_BUFFER_NAME, len(parsed.buffers))
        parsed.buffers.append(schema.BufferT())
    content = np.frombuffer(_metadata(signature, license_text), np.uint8)
    parsed.buffers[entries[_BUFFER_NAME].buffer].data = content
    parsed.metadata = list(entries.values())
    builder = _AligningBuilder(len(model))
    builder.Finish(parsed.Pack(builder), _MODEL_IDENTIFIER)
    stream = io.BytesIO(builder.Output())
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        texts = {LABELS_FILE: labels(signature), SIGNATURE_FILE: signature.to_json()}
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), text.encode())
    return stream.getvalue()


def labels(signature: Signature) -> str:
    """Returns the class names, one a line, class 0 first."""
    text = "".join(f"{' '.join(name.split())}\n" for name in signature.class_names)
    return text.encode("utf-8", "backslashreplace").decode()  # of names that are no text


class _AligningBuilder(flatbuffers.Builder):
    """A builder that aligns vectors of bytes, the model's weights, as the schema asks for.

    The builder of the flatbuffers package ignores the schema's `force_align`.
    """

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        """Begins a vector; see the base class."""
        if elemSize == 1:
            alignment = _BUFFER_ALIGNMENT
        return super().StartVector(elemSize, numElems, alignment)


def _metadata(signature: Signature, license_text: str) -> bytes:
    """Returns the flatbuffer of ModelMetadata."""
    builder = flatbuffers.Builder(4096)

    def text(value: str) -> int:
        return builder.CreateString(value)

    inputs, outputs = _input(builder, signature), _output(builder, signature)
    graph = _table(builder, {2: _vector(builder, [inputs]), 3: _vector(builder, [outputs])})
    file = _table(
        builder,
        {0: text(SIGNATURE_FILE), 1: text("Network, classes and view of a photo, as JSON.")},
        {2: _DESCRIPTIONS},
    )
    root = _table(
        builder,
        {
            0: text(signature.model),
            1: text(_description(signature)),
            3: _vector(builder, [graph]),
            5: text(license_text),
            6: _vector(builder, [file]),
            7: text(_MIN_PARSER_VERSION),
        },
    )
    builder.Finish(root, _METADATA_IDENTIFIER)
    return bytes(builder.Output())


def _description(signature: Signature) -> str:
    size = signature.image_size
    return (
        f"Classifies an image into {signature.num_classes} classes. Input: RGB, {size} x {size} "
        "pixels, values 0 to 255 as a camera gives them; the network normalizes them itself. "
        f"Weights: {signature.weights}. {SIGNATURE_FILE} in this file says which part of a photo "
        "the network was evaluated on."
    )


def _input(builder: flatbuffers.Builder, signature: Signature) -> int:
    """Writes TensorMetadata: RGB pixels that are used as they are, (value - 0) / 1."""
    size = _table(builder, numbers={0: signature.image_size, 1: signature.image_size})
    image = _table(builder, {1: size}, {0: _RGB})
    content = _table(builder, {1: image}, {0: _IMAGE_PROPERTIES})
    mean, std = _floats(builder, [0.0]), _floats(builder, [1.0])
    options = _table(builder, {0: mean, 1: std})
    unit = _table(builder, {1: options}, {0: _NORMALIZATION_OPTIONS})
    smallest, largest = _floats(builder, [0.0]), _floats(builder, [255.0])
    return _table(
        builder,
        {
            0: builder.CreateString("image"),
            1: builder.CreateString("RGB pixels, 0 to 255."),
            3: content,
            4: _vector(builder, [unit]),
            5: _table(builder, {0: largest, 1: smallest}),
        },
    )


def _output(builder: flatbuffers.Builder, signature: Signature) -> int:
    """Writes TensorMetadata: a score for each class, with the file of their names."""
    name, description = "probability", "The probability of each class."
    if signature.output == LOGITS:
        name, description = "logit", "The logit of each class; softmax makes it a probability."
    file = _table(
        builder,
        {
            0: builder.CreateString(LABELS_FILE),
            1: builder.CreateString("The names of the classes."),
        },
        {2: _AXIS_LABELS},
    )
    return _table(
        builder,
        {
            0: builder.CreateString(name),
            1: builder.CreateString(description),
            3: _table(builder, {1: _table(builder)}, {0: _FEATURE_PROPERTIES}),
            6: _vector(builder, [file]),
        },
    )


def _table(
    builder: flatbuffers.Builder,
    offsets: Mapping[int, int] | None = None,
    codes: Mapping[int, int] | None = None,
    numbers: Mapping[int, int] | None = None,
) -> int:
    """Writes a table and returns its place.

    Args:
        offsets: Field's number in the schema -> place of a string, vector or table.
        codes: Field's number -> value of an enumeration, one byte.
        numbers: Field's number -> unsigned 32-bit value.
    """
    offsets, codes, numbers = offsets or {}, codes or {}, numbers or {}
    builder.StartObject(1 + max((*offsets, *codes, *numbers), default=-1))
    for number, value in numbers.items():
        builder.PrependUint32Slot(number, value, 0)
    for number, place in offsets.items():
        builder.PrependUOffsetTRelativeSlot(number, place, 0)
    for number, value in codes.items():
        builder.PrependUint8Slot(number, value, 0)
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, places: Sequence[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    return builder.CreateNumpyVector(np.asarray(values, np.float32))
