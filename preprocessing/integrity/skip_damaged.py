"""Going on past lost records, up to a limit, with every loss counted and logged.

Each shard is checked before it is read for the first time, and again only when the file changes: an
intact one goes to TensorFlow's reader as always. A record is lost when its checksums do not fit,
when it is no example, when its label is out of range, or when its bytes are no image or a part of
one. Only images that do not end as they should are decoded for it: what is damaged in between, if
the decoder minds, stops the run. Every reader counts its losses from the beginning.

The place of a lost record is taken by another one of its file, so that an epoch keeps its length
and a resumed run its position. An evaluation leaves the stand-ins out by `Record.is_real`.

What can be used of a shard, and what of it is lost.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from common.errors import DataError
from preprocessing.integrity.contents import read_records, rows_of, verify_shard
from preprocessing.integrity.record_checks import check_records, describe_problem
from preprocessing.records.counts import describe_damage
from preprocessing.records.shards import ShardSet
from preprocessing.records.stream import ShardReader

_MAX_WAIT_SECS = 30.0


def salvaging_reader(
    shards: ShardSet, num_classes: int, *, max_corrupt_records: int
) -> ShardReader:
    """A reader that passes over lost records.

    Its iterators fail once more than `max_corrupt_records` different records have been met by any
    of them; the error carries the line of the DataError.
    """
    _finish_checks_at_exit()
    ledger = _Ledger(shards, num_classes, max_corrupt_records)

    def read(path: tf.Tensor) -> tf.data.Dataset:
        num_leading, left_out, rows = tf.numpy_function(ledger.plan, [path], [tf.int64] * 3)
        return read_records(
            path,
            tf.ensure_shape(num_leading, []),
            tf.ensure_shape(rows, [None, 4]),
            left_out=tf.ensure_shape(left_out, [None]),
        )

    return read


_Plan = tuple[np.int64, np.ndarray, np.ndarray]
"""How to read a shard: `num_leading`, `left_out` and `rows` of `read_records`."""


class _Ledger:
    """What each shard holds, and what has been lost so far; shared by concurrent readers."""

    def __init__(self, shards: ShardSet, num_classes: int, max_corrupt_records: int) -> None:
        self._listed = shards.listed
        self._num_classes = num_classes
        self._max_corrupt_records = max_corrupt_records
        self._num_lost = 0
        self._plans: dict[Path, _Plan] = {}
        self._lock = threading.Lock()

    def plan(self, name: bytes) -> _Plan:
        """How to read a shard, a function of the file alone."""
        try:
            return self._plan(Path(os.fsdecode(name)))
        except DataError as error:
            # TensorFlow drops a message that is no UTF-8.
            raise DataError(str(error).encode(errors="replace").decode()) from error

    def _plan(self, path: Path) -> _Plan:
        if path not in self._plans:
            with _checks.one_more():
                found = find_losses(path, self._num_classes)
            with self._lock:
                if path not in self._plans:  # another iterator may have been faster
                    self._plans[path] = self._book(path, found)
        return self._plans[path]

    def _book(self, path: Path, found: ShardFindings) -> _Plan:
        num_lost = found.num_lost
        if path.name in self._listed:
            num_lost = max(num_lost, self._listed[path.name].num_examples - found.num_sound)
        if num_lost:
            self._num_lost += num_lost
            self._report(path, num_lost, found.first_loss)
        if not found.num_sound:
            raise DataError(f"{path} has no intact record: convert or copy the shard again")
        rows = np.concatenate([found.others, np.repeat(found.stand_in, num_lost, axis=0)])
        return np.int64(found.num_leading), found.unsound, rows

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
        """Start no more, wait for those under way, and end the iterators of failed runs.

        It relies on atexit, which calls it while threads can still enter Python, and in front of
        what TensorFlow registered when it was imported; and on nobody holding the iterator of a
        failed run any more but the reference cycles of the error, which the collector finds.
        """
        with self._changed:
            self._is_over = True
            self._changed.wait_for(lambda: not self._num_running, timeout=_MAX_WAIT_SECS)
        gc.collect()


_checks = _Checks()


@functools.cache
def _finish_checks_at_exit() -> None:
    atexit.register(_checks.finish)


class ShardFindings(NamedTuple):
    """What can be used of a shard.

    Attributes:
        num_leading: records in front of the first damaged one; `unsound` are the numbers of those
            of them that give no image and label, int64 [num_unsound].
        others: the sound records behind, as `rows_of` them.
        stand_in: the first sound record in the same form; no row where there is none.
        first_loss: the line about the first record that is lost, "" where none is.
    """

    num_leading: int
    unsound: np.ndarray
    others: np.ndarray
    stand_in: np.ndarray
    num_sound: int
    num_lost: int
    first_loss: str


def find_losses(path: Path, num_classes: int) -> ShardFindings:
    """Check every record of a shard, an image that seems whole by its ends only; once per process.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return _find_unchanged(path, status.st_size, status.st_mtime_ns, num_classes)


@functools.cache
def _find_unchanged(path: Path, num_bytes: int, mtime_ns: int, num_classes: int) -> ShardFindings:
    """The size and the time are part of the key only: a file that changed is checked again."""
    contents = verify_shard(path)
    num_leading = contents.num_leading
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
    sound = contents.without(unsound).intact
    return ShardFindings(
        num_leading=num_leading,
        unsound=np.array([number for number in unsound if number < num_leading], np.int64),
        others=rows_of([record for record in sound if record[0] >= num_leading]),
        stand_in=rows_of(sound[:1], is_real=False),
        num_sound=len(sound),
        num_lost=len(lines),
        first_loss=lines[min(lines)] if lines else "",
    )
