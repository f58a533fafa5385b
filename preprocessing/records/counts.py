"""The number of examples of a split: from the manifest, from ImageNet's known sizes, or counted."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.errors import DataError
from preprocessing.records.foreign_files import foreign_file
from preprocessing.records.shards import ShardSet
from preprocessing.records.tfrecord import walk_records

# ILSVRC 2012: (shards, examples) of each split as every converter since 2016 writes it.
IMAGENET_SPLITS = {"train": (1024, 1_281_167), "validation": (128, 50_000)}
_NUM_SCAN_THREADS = 16  # a scan waits for the disk, not for the processor

_Damage = tuple[int, int, str]
"""A damaged record: its number in the file, its offset in bytes, its problem."""

# Advice for training and evaluation, at the end of an error.
SKIPPING = ", or skip damaged records with --max_corrupt_records"


def num_examples(shards: ShardSet) -> int:
    """Returns the number of examples of a split.

    Files are counted by the headers of their records, once per process. In a tolerant set a damaged
    stretch of a file counts as one example.

    Raises:
        DataError: a file is damaged, and the set is not tolerant.
    """
    listed = _listed_counts(shards)
    if listed is not None:
        return sum(listed)
    if _is_all_of_imagenet(shards):
        return IMAGENET_SPLITS[shards.subset][1]
    return sum(examples_per_shard(shards, shards.paths))


def examples_per_shard(shards: ShardSet, paths: Sequence[Path]) -> list[int]:
    """Returns the number of examples of each of `paths`, which are shards of the set."""
    listed = _listed_counts(shards)
    if listed is not None:
        count_of = dict(zip(shards.paths, listed, strict=True))
        return [count_of[path] for path in paths]
    with ThreadPoolExecutor(_NUM_SCAN_THREADS) as threads:
        return list(threads.map(lambda path: _count(path, shards.tolerant), paths))


def _listed_counts(shards: ShardSet) -> list[int] | None:
    """Returns the manifest's counts if it lists exactly the files that are there."""
    listed = shards.listed
    if set(listed) != {path.name for path in shards.paths}:
        return None
    return [listed[path.name].num_examples for path in shards.paths]


def _is_all_of_imagenet(shards: ShardSet) -> bool:
    """Returns whether the number of shards and the sizes of the first and the last are ImageNet's.

    A scan of 1.28 million headers takes minutes on a network disk. Converters spread the examples
    evenly, or fill every shard except the last.
    """
    num_shards, num_all = IMAGENET_SPLITS.get(shards.subset, (0, 0))
    if len(shards.paths) != num_shards:
        return False
    first, last = (_count(shards.paths[end], shards.tolerant) for end in (0, -1))
    smallest, largest = num_all // num_shards, -(-num_all // num_shards)
    evenly = {first, last} <= {smallest, largest}
    filled = first == largest and last == num_all - largest * (num_shards - 1)
    return evenly or filled


def _count(path: Path, tolerant: bool) -> int:
    status = path.stat()
    count, damage = _count_unchanged(path, status.st_size, status.st_mtime_ns)
    if damage and not tolerant:
        raise damage_error(path, *damage)
    return count


@functools.cache
def _count_unchanged(path: Path, num_bytes: int, mtime_ns: int) -> tuple[int, _Damage | None]:
    """Returns the number of records and the first damaged one, if any.

    Size and time are only part of the cache's key: a file that has changed is counted again.
    """
    count, damage = 0, None
    for span in walk_records(path):
        if span.problem and damage is None:
            damage = count, span.offset, span.problem
        count += 1
    return count, damage


def describe_damage(path: Path, index: int, offset: int, problem: str) -> str:
    """Describes which record is damaged and how; every part of the reader uses these words.

    A file that is no TFRecord file at all is described as what it is.
    """
    if offset == 0 and (line := foreign_file(path)):
        return line
    return f"{path}: record {index} at byte {offset} is damaged ({problem})"


def damage_error(path: Path, index: int, offset: int, problem: str) -> DataError:
    """Returns the error about a damaged record, with what to do about it."""
    if offset == 0 and (line := foreign_file(path)):
        return DataError(line)
    damage = describe_damage(path, index, offset, problem)
    return DataError(f"{damage}; convert or copy the shard again{SKIPPING}")
