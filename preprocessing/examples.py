"""A serialized tf.train.Example to its image bytes, label and boxes, each checked."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from preprocessing.image_decoding import has_image_signature
from preprocessing.record_stream import Record

# Error messages carry these words, by which `record_problems` finds file and record.
NOT_AN_EXAMPLE = "not an example in record"
BAD_LABEL = "bad label in record"
NOT_AN_IMAGE = "not an image in record"

_BOX_SIDES = ("ymin", "xmin", "ymax", "xmax")
_MISSING_LABEL = -1


class Example(NamedTuple):
    """One labelled image, still encoded."""

    encoded: tf.Tensor  # string scalar
    label: tf.Tensor  # integer scalar
    boxes: tf.Tensor  # float32 [num_boxes, 4]: ymin, xmin, ymax, xmax in 0..1


def parse_example(record: Record, num_classes: int) -> Example:
    """Parse and check one record; the label of the result is an int32 in 0..num_classes-1.

    A record of another kind, a label out of range, or bytes that are no image stop the iterator
    with an error that `diagnosis.explain` turns into a line with the file and the record's number.
    """
    origin = [record.file, record.index]
    is_example = _require(_may_be_example(record.data), [NOT_AN_EXAMPLE, *origin])
    with tf.control_dependencies([is_example]):
        encoded, label, boxes = _parse(tf.identity(record.data))
    is_labelled = _require(_in_range(label, num_classes), [BAD_LABEL, *origin, label])
    is_image = _require(has_image_signature(encoded), [NOT_AN_IMAGE, *origin])
    with tf.control_dependencies([is_labelled, is_image]):
        label = tf.cast(label - 1, tf.int32)
        encoded = tf.identity(encoded)  # or the decoder might fail first, and name no record
    return Example(encoded, label, boxes)


class Findings(NamedTuple):
    """What `parse_example` requires of a record, as bool scalars instead of errors."""

    is_example: tf.Tensor
    is_labelled: tf.Tensor
    is_image: tf.Tensor
    example: Example  # its label is that of the file, an int64


def inspect_example(data: tf.Tensor, num_classes: int) -> Findings:
    """Parse a serialized example and tell what is wrong with it.

    Bytes that begin as an example does, and are none, are an error nevertheless.
    """
    is_example = _may_be_example(data)
    example = _parse(tf.where(is_example, data, ""))
    is_labelled = _in_range(example.label, num_classes)
    return Findings(is_example, is_labelled, has_image_signature(example.encoded), example)


def _in_range(label: tf.Tensor, num_classes: int) -> tf.Tensor:
    return (label >= 1) & (label <= num_classes)


def _require(condition: tf.Tensor, data: list) -> tf.Operation:
    """tf.debugging.Assert without its tf.cond, which spares a GPU a copy and costs a CPU time."""
    return tf.raw_ops.Assert(condition=condition, data=data)


def _may_be_example(data: tf.Tensor) -> tf.Tensor:
    """Whether bytes begin as a tf.train.Example does, with the tag of its only field.

    The parser quotes what it cannot parse, and Python cannot read an error that quotes any bytes.
    """
    return (tf.strings.substr(data, 0, 1) == b"\n") | (tf.strings.length(data) == 0)


def _parse(data: tf.Tensor) -> Example:
    """Parse without checks; the label is that of the file, an int64 from 1 on.

    Missing keys give no bytes, the label -1 and no boxes.
    """
    keys: dict[str, object] = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string, default_value=""),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64, default_value=_MISSING_LABEL),
    }
    for side in _BOX_SIDES:
        keys[f"image/object/bbox/{side}"] = tf.io.FixedLenSequenceFeature(
            [], tf.float32, allow_missing=True
        )
    parsed = tf.io.parse_single_example(data, keys)
    boxes = tf.stack([parsed[f"image/object/bbox/{side}"] for side in _BOX_SIDES], axis=1)
    # Boxes a rounding error outside of the image are common, and an error to the crop sampler.
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    return Example(parsed["image/encoded"], parsed["image/class/label"], boxes)
