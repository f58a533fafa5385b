"""A serialized tf.train.Example to its image bytes, label and boxes, each checked."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from preprocessing.image_decoding import has_image_signature
from preprocessing.record_stream import Record

# Error messages of TensorFlow carry these words, by which `diagnosis` finds shard and record.
BAD_LABEL = "bad label in record"
NOT_AN_IMAGE = "not an image in record"

_BOX_SIDES = ("ymin", "xmin", "ymax", "xmax")
_MISSING_LABEL = -1


class Example(NamedTuple):
    """One labelled image, still encoded."""

    encoded: tf.Tensor  # string scalar
    label: tf.Tensor  # int32 scalar in 0..num_classes-1
    boxes: tf.Tensor  # float32 [num_boxes, 4]: ymin, xmin, ymax, xmax in 0..1


def parse_example(record: Record, num_classes: int) -> Example:
    """Parse and check one record; labels in files count from 1.

    A label out of range, or bytes that are no image, stop the iterator with an error that
    `diagnosis.explain` turns into a line with the file's name and the record's number.
    """
    keys: dict[str, object] = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string, default_value=""),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64, default_value=_MISSING_LABEL),
    }
    for side in _BOX_SIDES:
        keys[f"image/object/bbox/{side}"] = tf.io.FixedLenSequenceFeature(
            [], tf.float32, allow_missing=True
        )
    parsed = tf.io.parse_single_example(record.data, keys)
    encoded, label = parsed["image/encoded"], parsed["image/class/label"]
    in_range = (label >= 1) & (label <= num_classes)
    checks = [
        tf.debugging.Assert(in_range, [BAD_LABEL, record.file, record.index, label]),
        tf.debugging.Assert(
            has_image_signature(encoded), [NOT_AN_IMAGE, record.file, record.index]
        ),
    ]
    with tf.control_dependencies(checks):
        label = tf.cast(label - 1, tf.int32)
        encoded = tf.identity(encoded)  # or the decoder might fail first, and name no record
    boxes = tf.stack([parsed[f"image/object/bbox/{side}"] for side in _BOX_SIDES], axis=1)
    # Boxes a rounding error outside of the image are common, and an error to the crop sampler.
    return Example(encoded, label, tf.clip_by_value(boxes, 0.0, 1.0))
