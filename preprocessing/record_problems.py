"""Records that are whole but give no image and no label: which, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from preprocessing.examples import BAD_LABEL, NOT_AN_EXAMPLE, NOT_AN_IMAGE, parse_example
from preprocessing.image_decoding import decode_window, whole_image
from preprocessing.record_stream import Record

# How tf.debugging.Assert writes what `examples.parse_example` gives it.
_LOCATED = re.compile(
    rf"({NOT_AN_EXAMPLE}|{BAD_LABEL}|{NOT_AN_IMAGE})\] \[(.+?)\] \[(\d+)\](?: \[(-?\d+)\])?"
)


_BATCH_SIZE = 64


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


def check_records(
    records: tf.data.Dataset, num_classes: int, *, decode: bool
) -> Iterator[tuple[int, int | str]]:
    """Try every record: (its number in the file, its label from 0 on or what is wrong with it).

    Args:
        records: of `Record`, without damaged ones.
        num_classes: labels in the file go from 1 to this.
        decode: decode the images too, instead of looking at their first bytes alone.
    """

    def check(record: Record) -> tuple[tf.Tensor, tf.Tensor]:
        example = parse_example(record, num_classes)
        if not decode:
            return record.index, example.label
        image = decode_window(example.encoded, whole_image)
        with tf.control_dependencies([tf.shape(image)]):
            return record.index, tf.identity(example.label)

    num_tried, batch_size = 0, _BATCH_SIZE
    while True:
        results = records.skip(num_tried).map(check, num_parallel_calls=tf.data.AUTOTUNE)
        try:
            for indices, labels in results.batch(batch_size).as_numpy_iterator():
                yield from zip(indices.tolist(), labels.tolist(), strict=True)
                num_tried += len(indices)
            return
        except tf.errors.OpError as error:
            if batch_size > 1:  # somewhere in this batch: go on one by one
                batch_size = 1
                continue
            failed = next(iter(records.skip(num_tried)))
            yield int(failed.index), problem_of(error.message or "", num_classes)
            num_tried, batch_size = num_tried + 1, _BATCH_SIZE
