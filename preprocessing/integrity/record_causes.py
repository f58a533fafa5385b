"""Says in words why a record gives no labeled image, from the bytes of the record itself."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from preprocessing.records.examples import BOX_EDGES, IMAGE_KEY, LABEL_KEY, SIGNATURES
from preprocessing.records.shards import is_multi_label
from preprocessing.records.tfrecord import FRAME_BYTES, HEADER_BYTES, RecordSpan, walk_records

_TYPES = {"int64_list": "whole numbers", "float_list": "float32 numbers", "bytes_list": "text"}
_NUM_LISTED_KEYS = 6


def read_span(path: Path, span: RecordSpan) -> bytes:
    """Returns the data of a record, unchecked."""
    with path.open("rb") as file:
        file.seek(span.offset + HEADER_BYTES)
        return file.read(span.num_bytes - FRAME_BYTES)


def problem_of_record(path: Path, index: int, num_classes: int) -> str:
    """Returns what is wrong with record `index` of a file; "" if nothing is, or it is not there."""
    span = next(itertools.islice(walk_records(path), index, None), None)
    if not span or span.problem:
        return ""
    return problem_of(read_span(path, span), num_classes, multi_label=is_multi_label(path))


def problem_of(serialized: bytes, num_classes: int, *, multi_label: bool = False) -> str:
    """Returns why a record gives no label from 1 to `num_classes`, no image or no valid boxes.

    The result is "" if nothing is wrong. The image is not decoded. With `multi_label`, a record has
    any number of labels.
    """
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except DecodeError:
        return "it is not a tf.train.Example"
    if LABEL_KEY not in features and IMAGE_KEY not in features:
        return _foreign_keys(sorted(features))
    label_problem = _problem_of_labels if multi_label else _label_problem
    return (
        label_problem(features, num_classes) or _image_problem(features) or _box_problem(features)
    )


def _foreign_keys(keys: list[str]) -> str:
    if not keys:
        return f"it is empty: it has neither {IMAGE_KEY} nor {LABEL_KEY}"
    more = ", ..." if len(keys) > _NUM_LISTED_KEYS else ""
    listed = ", ".join(keys[:_NUM_LISTED_KEYS]) + more
    origin = ", as TensorFlow Datasets writes them" if {"image", "label"} <= set(keys) else ""
    return (
        f"it has neither {IMAGE_KEY} nor {LABEL_KEY}; its keys are {listed}{origin}: convert the "
        "images with download_and_convert_imagenet"
    )


def _label_problem(features, num_classes: int) -> str:
    problem = _count_problem(features, LABEL_KEY, "int64_list", "one whole number")
    if problem:
        return problem
    label = features[LABEL_KEY].int64_list.value[0]
    return (
        "" if 1 <= label <= num_classes else f"{LABEL_KEY} is {label}, not from 1 to {num_classes}"
    )


def _problem_of_labels(features, num_classes: int) -> str:
    labels = features[LABEL_KEY].int64_list.value if LABEL_KEY in features else ()
    wrong = [label for label in labels if not 1 <= label <= num_classes]
    if wrong:
        return f"{LABEL_KEY} has {wrong[0]}, not from 1 to {num_classes}"
    return "" if len(labels) == len(set(labels)) else f"{LABEL_KEY} has a label twice"


def _image_problem(features) -> str:
    problem = _count_problem(features, IMAGE_KEY, "bytes_list", "one encoded image")
    if problem:
        return problem
    is_image = features[IMAGE_KEY].bytes_list.value[0].startswith(SIGNATURES)
    return "" if is_image else f"{IMAGE_KEY} holds no JPEG, PNG, GIF or BMP image"


def _count_problem(features, key: str, kind: str, needed: str) -> str:
    """Returns why a key does not hold exactly one value of a kind, "" if it does."""
    if key not in features or features[key].WhichOneof("kind") is None:
        return f"there is no {key}"
    found = features[key].WhichOneof("kind")
    if found != kind:
        return f"{key} is {_TYPES[found]}, {needed} is needed"
    count = len(getattr(features[key], kind).value)
    if count == 0:
        return f"there is no {key}"
    return "" if count == 1 else f"{key} has {count} values, {needed} is needed"


def _box_problem(features) -> str:
    edges = {}
    for edge in BOX_EDGES:
        key = f"image/object/bbox/{edge}"
        found = features[key].WhichOneof("kind") if key in features else None
        if found not in (None, "float_list"):
            return f"{key} is {_TYPES[found]}, float32 numbers are needed"
        edges[edge] = features[key].float_list.value if found else ()
    first = BOX_EDGES[0]
    for edge, values in edges.items():
        if len(values) != len(edges[first]):
            return f"image/object/bbox: {first} has {_number(edges[first])}, {edge} {len(values)}"
        if not all(map(math.isfinite, values)):
            return f"image/object/bbox/{edge} holds a number that is not finite"
    return ""


def _number(values) -> str:
    return f"{len(values)} value{'' if len(values) == 1 else 's'}"
