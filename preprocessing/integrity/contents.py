"""The records of a shard that may be damaged: their list, and reading them past the damage.

TensorFlow's reader stops at the first damaged record of a file. It reads the records in front of
that one; the records after it are read one by one, by their offsets.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmark_cnn.distribution.batches import without_autotune
from preprocessing.records.stream import Record, plain_reader, printable
from preprocessing.records.tfrecord import (
    FRAME_BYTES,
    HEADER_BYTES,
    RecordSpan,
    record_at,
    walk_records,
)

NumberedSpan = tuple[int, RecordSpan]
"""A record's number in its file, from 0, and its place."""


@dataclass(frozen=True)
class ShardContents:
    """Every record of a shard in order; the `problem` of a span says why it cannot be read."""

    spans: tuple[RecordSpan, ...]

    @property
    def num_leading(self) -> int:
        """The number of records in front of the first one with a problem."""
        return next((n for n, span in enumerate(self.spans) if span.problem), len(self.spans))

    @property
    def others(self) -> tuple[NumberedSpan, ...]:
        """The records without a problem after the first one that has one."""
        return self.intact[self.num_leading :]

    @property
    def intact(self) -> tuple[NumberedSpan, ...]:
        """All records without a problem."""
        return tuple(record for record in enumerate(self.spans) if not record[1].problem)

    @property
    def damaged(self) -> tuple[NumberedSpan, ...]:
        """The records, or stretches of the file, with a problem."""
        return tuple(record for record in enumerate(self.spans) if record[1].problem)


def verify_shard(path: Path) -> ShardContents:
    """Checks the checksums of every record, with TensorFlow's fast reader up to the first damage.

    Raises:
        DataError: the file cannot be read.
    """
    spans = list(walk_records(path))
    leading = without_autotune(tf.data.TFRecordDataset(os.fsencode(path)).ignore_errors())
    num_leading = int(leading.reduce(np.int64(0), lambda count, _: count + 1))
    for number in range(num_leading, len(spans)):
        if not spans[number].problem:
            spans[number] = record_at(path, spans[number].offset)
    return ShardContents(tuple(spans))


def intact_records(path: Path, contents: ShardContents) -> tf.data.Dataset:
    """Reads the intact `Record`s of a shard."""
    num_leading = tf.constant(contents.num_leading, tf.int64)
    return read_records(tf.constant(os.fsencode(path)), num_leading, rows_of(contents.others))


def rows_of(records: Sequence[NumberedSpan], *, is_real: bool = True) -> np.ndarray:
    """Converts records that are read one by one to the form that `read_records` takes.

    Returns:
        int64 [num_records, 4]: offset and length of the data, number, is_real.
    """
    rows = [
        (span.offset + HEADER_BYTES, span.num_bytes - FRAME_BYTES, number, is_real)
        for number, span in records
    ]
    return np.array(rows, np.int64).reshape(-1, 4)


def read_records(
    path: tf.Tensor,
    num_leading: tf.Tensor,
    rows: np.ndarray | tf.Tensor,
    skipped: tf.Tensor | None = None,
) -> tf.data.Dataset:
    """Reads the first `num_leading` `Record`s of a file, then those of `rows`.

    Args:
        skipped: int64 [num_skipped], the numbers of leading records to leave out.
    """
    leading = plain_reader(path).take(num_leading)
    if skipped is not None:
        leading = leading.filter(lambda record: tf.reduce_all(record.index != skipped))
    single = tf.data.Dataset.from_tensor_slices(rows).map(lambda row: _fetch(path, row))
    return leading.concatenate(single)


def _fetch(path: tf.Tensor, row: tf.Tensor) -> Record:
    offset, num_bytes, index, is_real = tf.unstack(row)
    data = tf.numpy_function(_read_bytes, [path, offset, num_bytes], tf.string)
    return Record(tf.ensure_shape(data, []), printable(path), index, tf.cast(is_real, tf.bool))


def _read_bytes(name: bytes, offset: np.int64, num_bytes: np.int64) -> bytes:
    with open(name, "rb", buffering=0) as file:
        return os.pread(file.fileno(), int(num_bytes), int(offset))
