"""Going on past lost records, up to a limit, with every loss counted and logged.

Each shard is checked before it is read for the first time: an intact one goes to TensorFlow's
reader as always. A record is lost when its checksums do not fit, when it is no example, when its
label is out of range, or when its bytes do not begin as an image's do; images are not decoded.

The place of a lost record is taken by another one of its file, so that an epoch keeps its length
and a resumed run its position. An evaluation leaves the stand-ins out by `Record.is_real`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from preprocessing.errors import DataError
from preprocessing.record_counts import describe_damage
from preprocessing.record_problems import check_records, describe_problem
from preprocessing.record_stream import ShardReader
from preprocessing.shard_contents import (
    NumberedSpan,
    ShardContents,
    read_records,
    rows_of,
    verify_shard,
)
from preprocessing.shards import ShardSet

_MAX_WAIT_SECS = 30.0


def salvaging_reader(
    shards: ShardSet, num_classes: int, *, max_corrupt_records: int
) -> ShardReader:
    """A reader that passes over lost records.

    Its iterators fail once more than `max_corrupt_records` different records have been met by any
    of them; the error carries the line of the DataError.
    """
    ledger = _Ledger(shards, num_classes, max_corrupt_records)

    def read(path: tf.Tensor) -> tf.data.Dataset:
        num_leading, rows = tf.numpy_function(ledger.plan, [path], [tf.int64, tf.int64])
        return read_records(
            path, tf.ensure_shape(num_leading, []), tf.ensure_shape(rows, [None, 4])
        )

    return read


class _Ledger:
    """What each shard holds, and what has been lost so far; shared by concurrent readers."""

    def __init__(self, shards: ShardSet, num_classes: int, max_corrupt_records: int) -> None:
        self._listed = shards.listed
        self._num_classes = num_classes
        self._max_corrupt_records = max_corrupt_records
        self._num_lost = 0
        self._plans: dict[Path, tuple[np.int64, np.ndarray]] = {}
        self._lock = threading.Lock()

    def plan(self, name: bytes) -> tuple[np.int64, np.ndarray]:
        """How to read a shard: the arguments of `read_records`, a function of the file alone."""
        path = Path(name.decode())
        if path not in self._plans:
            with _checks.one_more():
                contents, first_loss = _check(path, self._num_classes)
            with self._lock:
                if path not in self._plans:  # another iterator may have been faster
                    self._plans[path] = self._book(path, contents, first_loss)
        return self._plans[path]

    def _book(
        self, path: Path, contents: ShardContents, first_loss: str
    ) -> tuple[np.int64, np.ndarray]:
        num_lost = len(contents.lost)
        if path.name in self._listed:
            num_lost = max(num_lost, self._listed[path.name].num_examples - len(contents.intact))
        if num_lost:
            self._num_lost += num_lost
            self._report(path, num_lost, first_loss)
        stand_ins = [_substitute(path, contents)] * num_lost
        rows = np.concatenate([rows_of(contents.others), rows_of(stand_ins, is_real=False)])
        return np.int64(contents.num_leading), rows

    def _report(self, path: Path, num_lost: int, first_loss: str) -> None:
        line = first_loss or f"{num_lost} of the records of {path} are lost"
        if self._num_lost > self._max_corrupt_records:
            allowed = self._max_corrupt_records
            raise DataError(
                f"{self._num_lost} records are lost, --max_corrupt_records={allowed}: {line}"
            )
        logging.warning("%d of the records of %s lost: %s", num_lost, path.name, line)


class _Checks:
    """The checks that are under way. The interpreter must not end before they do.

    TensorFlow's threads go on for a while when a run has failed. One that comes back to Python
    while it shuts down aborts the process, or keeps the end of its iterator waiting for ever.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_running = 0
        self._is_over = False

    @contextlib.contextmanager
    def one_more(self) -> Iterator[None]:
        with self._changed:
            if self._is_over:
                raise DataError("the program ends")
            self._num_running += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_running -= 1
                self._changed.notify_all()

    def finish(self) -> None:
        """Start no more, wait for those under way, and end the iterators of failed runs."""
        with self._changed:
            self._is_over = True
            self._changed.wait_for(lambda: not self._num_running, timeout=_MAX_WAIT_SECS)
        gc.collect()  # here their threads can still come back


_checks = _Checks()
atexit.register(_checks.finish)


def _check(path: Path, num_classes: int) -> tuple[ShardContents, str]:
    """What can be used of a shard, and the line about the first record that cannot ("" if all)."""
    contents = verify_shard(path)
    lines = {
        number: describe_damage(path, number, span.offset, span.problem)
        for number, span in contents.lost
    }
    unsound = {
        checked.index: checked.problem
        for checked in check_records(path, contents, num_classes, decode_every=0)
        if checked.problem
    }
    lines |= {index: describe_problem(path, index, unsound[index]) for index in unsound}
    return contents.without(unsound), lines[min(lines)] if lines else ""


def _substitute(path: Path, contents: ShardContents) -> NumberedSpan:
    """An intact record that stands in for those that are lost."""
    if not contents.intact:
        raise DataError(f"{path} has no intact record: convert or copy the shard again")
    return contents.intact[0]
