"""Parses serialized tf.train.Examples into image bytes, label and boxes, each checked."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from preprocessing.records.stream import Record

# Error messages contain these words, by which `integrity.record_checks` finds file and record.
NOT_AN_EXAMPLE = "not an example in record"
BAD_LABEL = "bad label in record"
NOT_AN_IMAGE = "not an image in record"

# The first and the last bytes of the formats that can be decoded: JPEG, PNG, GIF, BMP.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")
_ENDINGS = (b"\xff\xd9", b"IEND\xaeB`\x82", b";", b"")
_BOX_EDGES = ("ymin", "xmin", "ymax", "xmax")
_MISSING_LABEL = -1


class Example(NamedTuple):
    """One labeled image, still encoded."""

    encoded: tf.Tensor  # string scalar
    label: tf.Tensor  # integer scalar
    boxes: tf.Tensor  # float32 [num_boxes, 4]: ymin, xmin, ymax, xmax in 0..1


def parse_example(record: Record, num_classes: int) -> Example:
    """Parses and checks one record; the label of the result is an int32 in 0..num_classes-1.

    A record of another kind, a label out of range, or bytes that are not an image stop the iterator
    with an error that `diagnosis.explain` turns into a line with the file and the record's number.
    """
    origin = [record.file, record.index]
    is_example = _require(_may_be_example(record.data), [NOT_AN_EXAMPLE, *origin])
    with tf.control_dependencies([is_example]):
        encoded, label, boxes = _parse(tf.identity(record.data))
    is_labeled = _require(_in_range(label, num_classes), [BAD_LABEL, *origin, label])
    is_image = _require(has_image_signature(encoded), [NOT_AN_IMAGE, *origin])
    with tf.control_dependencies([is_labeled, is_image]):
        label = tf.cast(label - 1, tf.int32)
        encoded = tf.identity(encoded)  # else the decoder might fail first, with no record named
    return Example(encoded, label, boxes)


class Findings(NamedTuple):
    """The requirements of `parse_example`, as bool scalars instead of errors."""

    is_example: tf.Tensor
    is_labeled: tf.Tensor
    is_image: tf.Tensor
    example: Example  # with the label of the file, an int64


def inspect_example(data: tf.Tensor, num_classes: int) -> Findings:
    """Parses a serialized example and reports what is wrong with it.

    Bytes that begin like an example but cannot be parsed still raise an error.
    """
    is_example = _may_be_example(data)
    example = _parse(tf.where(is_example, data, ""))
    is_labeled = _in_range(example.label, num_classes)
    return Findings(is_example, is_labeled, has_image_signature(example.encoded), example)


def _in_range(label: tf.Tensor, num_classes: int) -> tf.Tensor:
    return (label >= 1) & (label <= num_classes)


def _require(condition: tf.Tensor, data: list) -> tf.Operation:
    """Requires a condition with the bare Assert op.

    tf.debugging.Assert adds a tf.cond that saves a device-to-host copy on GPUs but is pure overhead
    in a CPU pipeline.
    """
    return tf.raw_ops.Assert(condition=condition, data=data)


def _may_be_example(data: tf.Tensor) -> tf.Tensor:
    """Returns whether bytes begin like a tf.train.Example, with the tag of its only field.

    The parser quotes what it cannot parse, and Python cannot read an error with arbitrary bytes.
    """
    return (tf.strings.substr(data, 0, 1) == b"\n") | (tf.strings.length(data) == 0)


def _parse(data: tf.Tensor) -> Example:
    """Parses without checks; the label is that of the file, an int64 from 1 up.

    Missing keys give empty bytes, the label -1 and no boxes.
    """
    keys: dict[str, object] = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string, default_value=""),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64, default_value=_MISSING_LABEL),
    }
    for edge in _BOX_EDGES:
        keys[f"image/object/bbox/{edge}"] = tf.io.FixedLenSequenceFeature(
            [], tf.float32, allow_missing=True
        )
    parsed = tf.io.parse_single_example(data, keys)
    boxes = tf.stack([parsed[f"image/object/bbox/{edge}"] for edge in _BOX_EDGES], axis=1)
    # Boxes a rounding error outside the image are common, and the crop sampler rejects them.
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    return Example(parsed["image/encoded"], parsed["image/class/label"], boxes)


def has_image_signature(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether the first bytes are of a format that `decode_window` knows: bool scalar."""
    return tf.reduce_any(_has_signatures(encoded))


def seems_whole(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether the first and the last bytes belong to one format: bool scalar.

    Images that seem whole can nearly always be decoded, since the JPEG decoder continues after
    wrong data. Others may be decodable too, since bytes may follow the end of an image.

    An iterator fails if the header of a JPEG cannot be read.
    """
    lengths = [len(ending) for ending in _ENDINGS]
    longest = max(lengths)
    last = tf.strings.substr(encoded, tf.maximum(tf.strings.length(encoded) - longest, 0), longest)
    endings = tf.strings.substr(last, tf.maximum(tf.strings.length(last) - lengths, 0), lengths)
    is_format = _has_signatures(encoded)
    has_size = tf.cond(is_format[0], lambda: _jpeg_has_size(encoded), lambda: tf.constant(True))
    return tf.reduce_any(is_format & (endings == tf.constant(_ENDINGS))) & has_size


def _has_signatures(encoded: tf.Tensor) -> tf.Tensor:
    lengths = [len(signature) for signature in _SIGNATURES]
    first = tf.strings.substr(encoded, 0, max(lengths))
    starts = tf.strings.substr(first, [0] * len(lengths), lengths)
    return starts == tf.constant(_SIGNATURES)


def _jpeg_has_size(encoded: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.image.extract_jpeg_shape(encoded) > 0)
