"""Records that are whole but give no image and no label: which, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from preprocessing.examples import BAD_LABEL, NOT_AN_EXAMPLE, NOT_AN_IMAGE, parse_example
from preprocessing.image_decoding import decode_window, whole_image
from preprocessing.record_stream import Record

# How tf.debugging.Assert writes what `examples.parse_example` gives it.
_LOCATED = re.compile(
    rf"({NOT_AN_EXAMPLE}|{BAD_LABEL}|{NOT_AN_IMAGE})\] \[(.+?)\] \[(\d+)\](?: \[(-?\d+)\])?"
)

_BATCH_SIZE = 64
_NUM_FINGERPRINTS = 1 << 62


def describe_problem(path: Path | str, index: int | str, problem: str) -> str:
    """The one line about a record, in the words that every part of the reader uses."""
    return f"{path}: record {index}: {problem}"


def located_problem(message: str, num_classes: int) -> str | None:
    """The line for a TensorFlow error that tells file and record itself, None for another."""
    match = _LOCATED.search(message)
    return match and describe_problem(match[2], match[3], problem_of(message, num_classes))


def problem_of(message: str, num_classes: int) -> str:
    """What is wrong with the record that a TensorFlow error is about."""
    match = _LOCATED.search(message)
    if match is None:
        return "its image cannot be decoded"
    if match[1] == BAD_LABEL:
        return f"image/class/label is {match[4]}, not from 1 to {num_classes}"
    if match[1] == NOT_AN_IMAGE:
        return "image/encoded holds no JPEG, PNG, GIF or BMP image"
    return "it is no tf.train.Example"


class Checked(NamedTuple):
    """One record of a file, and what is wrong with it ("" for nothing).

    `fingerprint` is a 62-bit hash of the encoded image and `name` its file's; both, and the label
    (from 0 on), mean something for sound records only.
    """

    index: int
    problem: str
    label: int = -1
    fingerprint: int = 0
    name: str = ""


def check_records(
    records: tf.data.Dataset, num_classes: int, *, decode_every: int
) -> Iterator[Checked]:
    """Try every record.

    Args:
        records: of `Record`, without damaged ones.
        num_classes: labels in the file go from 1 to this.
        decode_every: decode every so-manieth image of a file, 1 for all, 0 for none; of the others
            only the first bytes are looked at.
    """

    def check(record: Record) -> tuple[tf.Tensor, ...]:
        example = parse_example(record, num_classes)
        with tf.control_dependencies(_decoded(example.encoded, record.index, decode_every)):
            label = tf.identity(example.label)
        fingerprint = tf.strings.to_hash_bucket_fast(example.encoded, _NUM_FINGERPRINTS)
        with tf.control_dependencies([label]):  # or this parser might meet what is no example
            name = _file_name(record.data)
        return record.index, label, fingerprint, name

    num_tried, batch_size = 0, _BATCH_SIZE
    while True:
        results = records.skip(num_tried).map(check, num_parallel_calls=tf.data.AUTOTUNE)
        try:
            for columns in results.batch(batch_size).as_numpy_iterator():
                for index, label, fingerprint, name in zip(*columns, strict=True):
                    yield Checked(int(index), "", int(label), int(fingerprint), _text(name))
                num_tried += len(columns[0])
            return
        except tf.errors.OpError as error:
            if batch_size > 1:  # somewhere in this batch: go on one by one
                batch_size = 1
                continue
            failed = next(iter(records.skip(num_tried)))
            yield Checked(int(failed.index), problem_of(error.message or "", num_classes))
            num_tried, batch_size = num_tried + 1, _BATCH_SIZE


def _decoded(encoded: tf.Tensor, index: tf.Tensor, decode_every: int) -> list[tf.Tensor]:
    """What has to be computed for an image to have been decoded, where it is to be."""

    def num_pixels() -> tf.Tensor:
        return tf.size(decode_window(encoded, whole_image))

    if not decode_every:
        return []
    if decode_every == 1:
        return [num_pixels()]
    return [tf.cond(tf.math.floormod(index, decode_every) == 0, num_pixels, lambda: tf.constant(0))]


def _file_name(data: tf.Tensor) -> tf.Tensor:
    key = "image/filename"
    return tf.io.parse_single_example(data, {key: tf.io.FixedLenFeature([], tf.string, "")})[key]


def _text(name: bytes) -> str:
    return name.decode(errors="replace").rsplit("/", 1)[-1]
