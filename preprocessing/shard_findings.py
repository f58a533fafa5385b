"""What can be used of a shard, and what of it is lost."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from preprocessing.errors import DataError
from preprocessing.record_counts import describe_damage
from preprocessing.record_problems import check_records, describe_problem
from preprocessing.shard_contents import rows_of, verify_shard


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
