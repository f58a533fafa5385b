"""Checks of records with intact checksums: whether each gives an image and a label."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from benchmark_cnn.distribution.batches import without_autotune
from common.process import num_cores
from download_and_convert_imagenet.records import jpeg_scan
from download_and_convert_imagenet.records.image_headers import CorruptImageError, read_header
from download_and_convert_imagenet.records.pixels import MAX_DECODED_PIXELS
from preprocessing.images.decoding import decode_window, whole_image
from preprocessing.integrity.contents import ShardContents, intact_records
from preprocessing.integrity.record_causes import problem_of, read_span
from preprocessing.records.examples import inspect_example, seems_whole
from preprocessing.records.shards import is_multi_label
from preprocessing.records.stream import Record

_CANNOT_BE_DECODED = "its image cannot be decoded"
_HAS_HOLES = "its image is damaged: a part of its pixels is missing"

_BATCH_SIZE = 64
_NUM_FINGERPRINTS = 1 << 62


def describe_problem(path: Path | str, index: int | str, problem: str) -> str:
    """Returns the one line about a record; every part of the reader uses these words."""
    return f"{path}: record {index}: {problem}"


class Checked(NamedTuple):
    """One record of a file and its problem, "" for none.

    `fingerprint` is a 62-bit hash of the encoded image, `name` is the image's file, and `label`
    counts from 0; all three are meaningful for valid records only.
    """

    index: int
    problem: str
    label: int = -1
    fingerprint: int = 0
    name: str = ""


def check_records(
    path: Path,
    contents: ShardContents,
    num_classes: int,
    *,
    decode_every: int,
    find_holes: bool = True,
) -> Iterator[Checked]:
    """Checks every intact record of a shard, in order and in one pass.

    Args:
        contents: those of the file at `path`.
        num_classes: labels in the file are 1 to this number.
        decode_every: decode every n-th image (1: all, 0: none). Of the rest, only the signature,
            the end marker, the header and, of a JPEG, its later markers and runs of zeros are
            checked; images that fail this check are decoded.
        find_holes: also finds damaged images that TensorFlow decodes, see `jpeg_scan`.
    """
    multi_label = is_multi_label(path)
    check = _checker(num_classes, multi_label, decode_every, find_holes)
    results = intact_records(path, contents).map(check, num_parallel_calls=num_cores())
    # A record that fails is dropped here; its missing number shows it.
    rows = _rows(without_autotune(results.ignore_errors().batch(_BATCH_SIZE)))
    row = next(rows, None)
    for index, span in contents.intact:
        if row is None or row.index != index or not row.is_valid:
            problem = problem_of(read_span(path, span), num_classes, multi_label=multi_label)
            yield Checked(index, problem or _CANNOT_BE_DECODED)
        else:
            name = row.name.decode(errors="replace")
            problem = row.image_problem.decode()
            yield Checked(index, problem, int(row.label) - 1, int(row.fingerprint), name)
        if row is not None and row.index == index:
            row = next(rows, None)


class _Row(NamedTuple):
    """The pipeline's findings about a record: tensors inside it, NumPy scalars outside."""

    index: Any
    is_valid: Any
    label: Any  # that of the file
    fingerprint: Any
    name: Any
    image_problem: Any


@functools.cache
def _checker(
    num_classes: int, multi_label: bool, decode_every: int, find_holes: bool
) -> Callable[..., _Row]:
    """Returns the check of one record, a graph that is traced once for all files."""

    def check(record: Record) -> _Row:
        example, is_valid = inspect_example(record.data, num_classes, multi_label)
        encoded = example.encoded
        is_sampled = tf.constant(False)
        if decode_every:
            is_sampled = tf.math.floormod(record.index, decode_every) == 0
        problem = tf.numpy_function(
            _image_problem, [encoded, is_sampled, find_holes], tf.string, stateful=False
        )
        problem = tf.cond(is_valid, lambda: tf.ensure_shape(problem, []), lambda: tf.constant(""))
        is_decodable = is_valid & (problem == "")
        with tf.control_dependencies(_decoded(encoded, is_sampled, is_decodable)):
            fingerprint = tf.strings.to_hash_bucket_fast(encoded, _NUM_FINGERPRINTS)
        name = _file_name(tf.where(is_valid, record.data, ""))
        label = tf.constant(0, tf.int64) if multi_label else example.label
        return _Row(record.index, is_valid, label, fingerprint, name, problem)

    return tf.function(check, autograph=False)


def _rows(batches: tf.data.Dataset) -> Iterator[_Row]:
    for columns in batches.as_numpy_iterator():
        yield from map(_Row._make, zip(*columns, strict=True))


def _decoded(encoded: tf.Tensor, is_sampled: tf.Tensor, is_valid: tf.Tensor) -> list[tf.Tensor]:
    """Returns the tensors to compute so that an image has been decoded, if it should be."""

    def num_pixels() -> tf.Tensor:
        return tf.size(decode_window(encoded, whole_image))

    is_doubtful = tf.logical_not(tf.cond(is_valid, lambda: seems_whole(encoded), lambda: is_valid))
    is_chosen = is_valid & (is_sampled | is_doubtful)
    return [tf.cond(is_chosen, num_pixels, lambda: tf.constant(0))]


def _image_problem(encoded: bytes, is_sampled: np.bool, find_holes: np.bool) -> bytes:
    """Returns what TensorFlow's decoder does not say about an image, b"" for nothing."""
    try:
        header = read_header(encoded)
    except CorruptImageError:
        return b""  # what the decoder does say
    if header.height * header.width > MAX_DECODED_PIXELS:
        size = f"{header.width:,}x{header.height:,} pixels"
        return f"its image is too large: {size}, more than {MAX_DECODED_PIXELS:,}".encode()
    if not find_holes or not header.scan or not header.is_complete:
        return b""
    if not is_sampled and not jpeg_scan.may_have_holes(encoded, header):
        return b""
    return _HAS_HOLES.encode() if jpeg_scan.has_holes(encoded) else b""


def _file_name(data: tf.Tensor) -> tf.Tensor:
    key = "image/filename"
    return tf.io.parse_single_example(data, {key: tf.io.FixedLenFeature([], tf.string, "")})[key]
