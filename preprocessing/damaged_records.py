"""Going on past damaged records, up to a limit, with every loss counted and logged.

TensorFlow's reader gives up a file at its first damaged record. Here each shard is verified before
it is read for the first time: an intact one goes to TensorFlow's reader as always, and of a damaged
one the records after the first damage are fetched singly, by their offsets.

The place of a lost record is taken by another one of its file, so that an epoch keeps its length
and a resumed run its position. An evaluation leaves the stand-ins out by `Record.is_real`.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from preprocessing.errors import DataError
from preprocessing.record_counts import describe_damage
from preprocessing.record_stream import Record, ShardReader, plain_reader
from preprocessing.shards import ShardSet
from preprocessing.tfrecord import (
    FRAME_BYTES,
    HEADER_BYTES,
    RecordSpan,
    record_at,
    walk_records,
)


@dataclass(frozen=True)
class ShardContents:
    """What can be read of a shard: (number, span) of each record, intact or damaged.

    `num_leading` intact records come before the first damage; `others` are intact ones after it.
    """

    num_leading: int
    others: tuple[tuple[int, RecordSpan], ...] = ()
    damaged: tuple[tuple[int, RecordSpan], ...] = ()

    @property
    def num_intact(self) -> int:
        return self.num_leading + len(self.others)


def verify_shard(path: Path) -> ShardContents:
    """Check every record of a shard; TensorFlow does so at its own speed up to the first damage."""
    spans = list(walk_records(path))
    leading = tf.data.TFRecordDataset(str(path)).ignore_errors()
    num_leading = int(leading.reduce(np.int64(0), lambda count, _: count + 1))
    others, damaged = [], []
    for index in range(num_leading, len(spans)):
        checked = spans[index]
        if not checked.problem:
            checked = record_at(path, checked.offset)
        (damaged if checked.problem else others).append((index, checked))
    return ShardContents(num_leading, tuple(others), tuple(damaged))


def intact_records(path: Path, contents: ShardContents) -> tf.data.Dataset:
    """The `Record`s of a shard that can be read."""
    rows = _rows([(index, span, True) for index, span in contents.others])
    return _read(tf.constant(str(path)), tf.constant(contents.num_leading, tf.int64), rows)


def salvaging_reader(shards: ShardSet, max_corrupt_records: int) -> ShardReader:
    """A reader that passes over damaged records.

    Its iterators fail once more than `max_corrupt_records` different records have been met by any
    of them; the error carries the line of the DataError.
    """
    ledger = _Ledger(shards, max_corrupt_records)

    def read(path: tf.Tensor) -> tf.data.Dataset:
        num_leading, rows = tf.numpy_function(ledger.plan, [path], [tf.int64, tf.int64])
        return _read(path, tf.ensure_shape(num_leading, []), tf.ensure_shape(rows, [None, 4]))

    return read


def _rows(records: list[tuple[int, RecordSpan, bool]]) -> np.ndarray:
    """(number, span, is_real) of records to fetch singly, as int64 [num_records, 4]."""
    rows = [
        (span.offset + HEADER_BYTES, span.num_bytes - FRAME_BYTES, index, is_real)
        for index, span, is_real in records
    ]
    return np.array(rows, np.int64).reshape(-1, 4)


def _read(path: tf.Tensor, num_leading: tf.Tensor, rows: np.ndarray | tf.Tensor) -> tf.data.Dataset:
    leading = plain_reader(path).take(num_leading)
    single = tf.data.Dataset.from_tensor_slices(rows).map(lambda row: _fetch(path, row))
    return leading.concatenate(single)


def _fetch(path: tf.Tensor, row: tf.Tensor) -> Record:
    offset, num_bytes, index, is_real = tf.unstack(row)
    data = tf.numpy_function(_read_bytes, [path, offset, num_bytes], tf.string)
    return Record(tf.ensure_shape(data, []), path, index, tf.cast(is_real, tf.bool))


def _read_bytes(name: bytes, offset: np.int64, num_bytes: np.int64) -> bytes:
    with open(name, "rb", buffering=0) as file:
        return os.pread(file.fileno(), int(num_bytes), int(offset))


class _Ledger:
    """What each shard holds, and what has been lost so far; shared by concurrent readers."""

    def __init__(self, shards: ShardSet, max_corrupt_records: int) -> None:
        self._listed = shards.listed
        self._max_corrupt_records = max_corrupt_records
        self._num_lost = 0
        self._plans: dict[Path, tuple[np.int64, np.ndarray]] = {}
        self._lock = threading.Lock()

    def plan(self, name: bytes) -> tuple[np.int64, np.ndarray]:
        """How to read a shard: the number of its leading records, and the `_rows` of the others."""
        path = Path(name.decode())
        if path not in self._plans:
            contents = verify_shard(path)
            with self._lock:
                if path not in self._plans:  # another iterator may have been faster
                    self._plans[path] = self._book(path, contents)
        return self._plans[path]

    def _book(self, path: Path, contents: ShardContents) -> tuple[np.int64, np.ndarray]:
        num_lost = len(contents.damaged)
        if path.name in self._listed:
            num_lost = max(num_lost, self._listed[path.name].num_examples - contents.num_intact)
        if num_lost:
            self._num_lost += num_lost
            self._report(path, num_lost, contents)
        singles = [(index, span, True) for index, span in contents.others]
        singles += [(*_substitute(path, contents), False)] * num_lost
        return np.int64(contents.num_leading), _rows(singles)

    def _report(self, path: Path, num_lost: int, contents: ShardContents) -> None:
        line = f"{num_lost} of the records of {path} are lost"
        if contents.damaged:
            index, span = contents.damaged[0]
            line = describe_damage(path, index, span.offset, span.problem)
        if self._num_lost > self._max_corrupt_records:
            allowed = self._max_corrupt_records
            raise DataError(
                f"{self._num_lost} records are lost, --max_corrupt_records={allowed}: {line}"
            )
        logging.warning("%d of the records of %s lost: %s", num_lost, path.name, line)


def _substitute(path: Path, contents: ShardContents) -> tuple[int, RecordSpan]:
    """The (number, span) of an intact record that stands in for those that are lost."""
    if contents.num_leading:
        return 0, next(walk_records(path))
    if contents.others:
        return contents.others[0]
    raise DataError(f"{path} has no intact record: convert or copy the shard again")
