"""Parses serialized tf.train.Examples into image bytes, label and boxes, each checked."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from preprocessing.records.stream import Record

IMAGE_KEY = "image/encoded"
LABEL_KEY = "image/class/label"
BOX_EDGES = ("xmin", "ymin", "xmax", "ymax")

# Error messages contain these words, by which `integrity.diagnosis` finds file and record.
BAD_RECORD = "bad record"

# The first and the last bytes of the formats that can be decoded: JPEG, PNG, GIF, BMP.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")
_ENDINGS = (b"\xff\xd9", b"IEND\xaeB`\x82", b";", b"")
# The order of the coordinates in a tensor of boxes.
_COORDINATES = ("ymin", "xmin", "ymax", "xmax")


class Example(NamedTuple):
    """One labeled image, still encoded."""

    encoded: tf.Tensor  # string scalar
    label: tf.Tensor  # integer scalar; of several labels, float32 [num_classes] of 0 and 1
    boxes: tf.Tensor  # float32 [num_boxes, 4]: ymin, xmin, ymax, xmax in 0..1


def parse_example(record: Record, num_classes: int, multi_label: bool = False) -> Example:
    """Parses and checks one record; the label of the result is an int32 in 0..num_classes-1.

    With `multi_label`, a record has any number of labels, and the result has a number per class.

    A record of another kind, or without exactly one label in range, one image and whole boxes,
    stops the iterator with an error that `diagnosis.explain` turns into a line with the file, the
    record's number and what is wrong with it.
    """
    origin = [BAD_RECORD, record.file, record.index]
    is_example = _require(_may_be_example(record.data), origin)
    with tf.control_dependencies([is_example]):
        example, is_valid = _parse(tf.identity(record.data), num_classes, multi_label)
    with tf.control_dependencies([_require(is_valid, origin)]):
        label = tf.identity(example.label) if multi_label else tf.cast(example.label - 1, tf.int32)
        # Else the decoder or the sampler of crops might fail first, with no record named.
        encoded, boxes = tf.identity(example.encoded), tf.identity(example.boxes)
    return Example(encoded, label, boxes)


def inspect_example(
    data: tf.Tensor, num_classes: int, multi_label: bool = False
) -> tuple[Example, tf.Tensor]:
    """Parses a serialized example, and returns whether it meets the demands of `parse_example`.

    Bytes that begin like an example but cannot be parsed, and values of another type, still raise
    an error.

    Returns:
        (the example with the label of the file, an int64; a bool scalar).
    """
    is_example = _may_be_example(data)
    example, is_valid = _parse(tf.where(is_example, data, ""), num_classes, multi_label)
    return example, is_example & is_valid


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


def _parse(data: tf.Tensor, num_classes: int, multi_label: bool) -> tuple[Example, tf.Tensor]:
    """Returns the example, its label as in the file, and whether it is valid.

    Labels and boxes are parsed as lists, since the parser names no record when there are more or
    fewer values than it was told.
    """

    def values(dtype: tf.DType) -> tf.io.FixedLenSequenceFeature:
        return tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)

    keys: dict[str, object] = {
        IMAGE_KEY: tf.io.FixedLenFeature([], tf.string, default_value=""),
        LABEL_KEY: values(tf.int64),
    }
    for edge in _COORDINATES:
        keys[f"image/object/bbox/{edge}"] = values(tf.float32)
    parsed = tf.io.parse_single_example(data, keys)
    encoded, labels = parsed[IMAGE_KEY], parsed[LABEL_KEY]
    edges = [parsed[f"image/object/bbox/{edge}"] for edge in _COORDINATES]
    if multi_label:
        places = tf.cast(tf.range(1, num_classes + 1), tf.int64)
        label = tf.cast(tf.reduce_any(labels[:, tf.newaxis] == places, axis=0), tf.float32)
        # Each label is in range and there once.
        is_labeled = tf.size(labels) == tf.cast(tf.reduce_sum(label), tf.int32)
    else:
        label = tf.reduce_sum(labels)
        is_labeled = (tf.size(labels) == 1) & (label >= 1) & (label <= num_classes)
    counts = tf.stack([tf.size(edge) for edge in edges])
    num_boxes = tf.reduce_min(counts)
    boxes = tf.stack([edge[:num_boxes] for edge in edges], axis=1)
    is_valid = (
        is_labeled
        & (tf.reduce_max(counts) == num_boxes)
        & tf.reduce_all(tf.math.is_finite(boxes))
        & has_image_signature(encoded)
    )
    # Boxes a rounding error outside the image are common, and the crop sampler rejects them.
    return Example(encoded, label, tf.clip_by_value(boxes, 0.0, 1.0)), is_valid


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
    lengths = [len(signature) for signature in SIGNATURES]
    first = tf.strings.substr(encoded, 0, max(lengths))
    starts = tf.strings.substr(first, [0] * len(lengths), lengths)
    return starts == tf.constant(SIGNATURES)


def _jpeg_has_size(encoded: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.image.extract_jpeg_shape(encoded) > 0)
