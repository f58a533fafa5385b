"""Skips damaged records, up to --max_corrupt_records, counting and logging each shard that has any.

Each shard is checked before it is first read, and again only if the file changes; TensorFlow's
reader then reads it as usual up to the first damaged record. A record is damaged if its checksums
differ, if it is not an example, if its label is out of range, or if its bytes are not an image or
are cut off. Only images without a proper end are decoded for this check: damage within an image
that the decoder rejects stops the run. Every reader starts its count at zero.

Another record of the file takes the place of a damaged one, or one of another file if no record is
left, so that an epoch keeps its length and a resumed run its position. Evaluation ignores these
stand-ins by `Record.is_real`.
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
from preprocessing.records.tfrecord import LENGTH_DIFFERS

_MAX_WAIT_SECS = 30.0


def skipping_reader(shards: ShardSet, num_classes: int) -> ShardReader:
    """Returns a reader that skips damaged records.

    Its iterators fail when any of them has met more than `shards.max_corrupt_records` different
    damaged records in total; the error carries the line of the DataError.
    """
    _finish_checks_at_exit()
    counter = _LossCounter(shards, num_classes)

    def read(path: tf.Tensor) -> tf.data.Dataset:
        source, num_leading, skipped, rows = tf.numpy_function(
            counter.plan, [path], [tf.string, *[tf.int64] * 3]
        )
        return read_records(
            tf.ensure_shape(source, []),
            tf.ensure_shape(num_leading, []),
            tf.ensure_shape(rows, [None, 4]),
            skipped=tf.ensure_shape(skipped, [None]),
        )

    return read


_Plan = tuple[bytes, np.int64, np.ndarray, np.ndarray]
"""How to read a shard: `path`, `num_leading`, `skipped` and `rows` of `read_records`."""


class _LossCounter:
    """Plans how each shard is read and counts the damaged records; concurrent readers share it."""

    def __init__(self, shards: ShardSet, num_classes: int) -> None:
        self._shards = shards
        self._num_classes = num_classes
        self._num_damaged = 0
        self._plans: dict[Path, _Plan] = {}
        self._lock = threading.Lock()

    def plan(self, name: bytes) -> _Plan:
        """Returns how to read a shard, a function of the files alone."""
        try:
            return self._plan(Path(os.fsdecode(name)))
        except DataError as error:
            # TensorFlow drops a message that is not valid UTF-8.
            raise DataError(str(error).encode(errors="replace").decode()) from error

    def _plan(self, path: Path) -> _Plan:
        if path not in self._plans:
            with _checks.running():
                found = find_damage(path, self._num_classes)
            with self._lock:
                if path not in self._plans:  # another iterator may have been faster
                    self._plans[path] = self._count_losses(path, found)
        return self._plans[path]

    def _count_losses(self, path: Path, found: ShardFindings) -> _Plan:
        num_damaged = found.num_damaged
        listed = self._shards.listed.get(path.name)
        if listed is not None:
            num_damaged = max(num_damaged, listed.num_examples - found.num_valid)
        if num_damaged:
            self._num_damaged += num_damaged
            self._report(path, num_damaged, found.first_problem)
        if not found.num_valid:
            if not found.has_headers:
                raise DataError(f"{path} has no intact record: convert or copy the shard again")
            path, stand_in = self._stand_in_of_another()
            rows = np.repeat(stand_in, num_damaged, axis=0)
            return os.fsencode(path), np.int64(0), found.invalid, rows
        rows = np.concatenate([found.others, np.repeat(found.stand_in, num_damaged, axis=0)])
        return os.fsencode(path), np.int64(found.num_leading), found.invalid, rows

    def _stand_in_of_another(self) -> tuple[Path, np.ndarray]:
        """Returns the first shard with a valid record, and that record."""
        for path in self._shards.paths:
            found = find_damage(path, self._num_classes)
            if found.num_valid:
                return path, found.stand_in
        raise DataError(
            f"no {self._shards.subset} shard of {self._shards.directory} has an intact record: "
            "convert or copy the shards again"
        )

    def _report(self, path: Path, num_damaged: int, first_problem: str) -> None:
        line = first_problem or f"{num_damaged} of the records of {path} are missing"
        allowed = self._shards.max_corrupt_records
        if self._num_damaged > allowed:
            raise DataError(
                f"{self._num_damaged} records are damaged, --max_corrupt_records={allowed}: {line}"
            )
        logging.warning("skipping %d of the records of %s: %s", num_damaged, path.name, line)


class ShardFindings(NamedTuple):
    """The usable and the damaged records of a shard.

    Attributes:
        num_leading: the number of records in front of the first one with a wrong checksum.
        invalid: int64 [num_invalid], the numbers of those leading records that give no image and
            label.
        others: the valid records after the leading ones, in the form of `rows_of`.
        stand_in: the first valid record in the same form; no row if there is none.
        has_headers: whether any record has a header. Without one, the file may be anything.
        first_problem: the line about the first damaged record, "" if there is none.
    """

    num_leading: int
    invalid: np.ndarray
    others: np.ndarray
    stand_in: np.ndarray
    num_valid: int
    num_damaged: int
    has_headers: bool
    first_problem: str


def find_damage(path: Path, num_classes: int) -> ShardFindings:
    """Checks every record of a shard, once per process; decodes only images without a proper end.

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
    """Size and time are only part of the cache's key: a file that has changed is checked again."""
    contents = verify_shard(path)
    num_leading = contents.num_leading
    lines = {
        number: describe_damage(path, number, span.offset, span.problem)
        for number, span in contents.damaged
    }
    invalid = {
        checked.index: checked.problem
        for checked in check_records(path, contents, num_classes, decode_every=0)
        if checked.problem
    }
    lines |= {index: describe_problem(path, index, invalid[index]) for index in invalid}
    valid = [record for record in contents.intact if record[0] not in invalid]
    return ShardFindings(
        num_leading=num_leading,
        invalid=np.array([number for number in invalid if number < num_leading], np.int64),
        others=rows_of([record for record in valid if record[0] >= num_leading]),
        stand_in=rows_of(valid[:1], is_real=False),
        num_valid=len(valid),
        num_damaged=len(lines),
        has_headers=any(span.problem != LENGTH_DIFFERS for span in contents.spans),
        first_problem=lines[min(lines)] if lines else "",
    )


class _Checks:
    """The running checks. The interpreter must not exit before they have finished.

    TensorFlow's threads keep running for a while after a run has failed. A thread that enters
    Python during its shutdown aborts the process, or blocks the deletion of its iterator forever.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_running = 0
        self._is_over = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Counts a check as running inside the block.

        Raises:
            DataError: the interpreter is exiting.
        """
        with self._changed:
            if self._is_over:
                raise DataError("the program is exiting")
            self._num_running += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_running -= 1
                self._changed.notify_all()

    def finish(self) -> None:
        """Starts no more checks, waits for the running ones, and deletes failed runs' iterators.

        It relies on atexit, which calls it while threads can still enter Python and before what
        TensorFlow registered when it was imported. It also relies on the failed run's iterator
        being held only by the error's reference cycles, which the garbage collector finds.
        """
        with self._changed:
            self._is_over = True
            self._changed.wait_for(lambda: not self._num_running, timeout=_MAX_WAIT_SECS)
        gc.collect()


_checks = _Checks()


@functools.cache
def _finish_checks_at_exit() -> None:
    atexit.register(_checks.finish)
