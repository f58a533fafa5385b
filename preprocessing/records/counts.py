"""How many examples a split holds: from the manifest, from ImageNet's known sizes, or counted."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.errors import DataError
from preprocessing.records.shards import ShardSet
from preprocessing.records.tfrecord import walk_records

# ILSVRC 2012: (shards, examples) of the split as every converter since 2016 writes it.
IMAGENET_SPLITS = {"train": (1024, 1_281_167), "validation": (128, 50_000)}
_NUM_SCAN_THREADS = 16  # a scan waits for the disk, not for the processor


def num_examples(shards: ShardSet, *, tolerate_damage: bool = False) -> int:
    """Examples of a split.

    Files are counted by the headers of their records, once per process. A damaged stretch counts
    as one example with `tolerate_damage`.

    Raises:
        DataError: a file is damaged, and `tolerate_damage` is off.
    """
    listed = _listed_counts(shards)
    if listed is not None:
        return sum(listed)
    if _is_all_of_imagenet(shards, tolerate_damage):
        return IMAGENET_SPLITS[shards.subset][1]
    return sum(examples_per_shard(shards, shards.paths, tolerate_damage=tolerate_damage))


def examples_per_shard(
    shards: ShardSet, paths: Sequence[Path], *, tolerate_damage: bool = False
) -> list[int]:
    """Examples of each of `paths`, which are shards of the set."""
    listed = _listed_counts(shards)
    if listed is not None:
        count_of = dict(zip(shards.paths, listed, strict=True))
        return [count_of[path] for path in paths]
    with ThreadPoolExecutor(_NUM_SCAN_THREADS) as threads:
        return list(threads.map(lambda path: _count(path, tolerate_damage), paths))


def _listed_counts(shards: ShardSet) -> list[int] | None:
    """The manifest's counts, when it lists exactly the files that are there."""
    listed = shards.listed
    if set(listed) != {path.name for path in shards.paths}:
        return None
    return [listed[path.name].num_examples for path in shards.paths]


def _is_all_of_imagenet(shards: ShardSet, tolerate_damage: bool) -> bool:
    """Whether number and fill of the shards are ImageNet's, judged by the first and the last.

    A scan of 1.28 million headers takes minutes on a network disk. Converters spread the examples
    evenly, or fill every shard but the last.
    """
    num_shards, num_all = IMAGENET_SPLITS[shards.subset]
    if len(shards.paths) != num_shards:
        return False
    first = _count(shards.paths[0], tolerate_damage)
    last = _count(shards.paths[-1], tolerate_damage)
    smallest, largest = num_all // num_shards, -(-num_all // num_shards)
    evenly = {first, last} <= {smallest, largest}
    filled = first == largest and last == num_all - largest * (num_shards - 1)
    return evenly or filled


def _count(path: Path, tolerate_damage: bool) -> int:
    status = path.stat()
    return _count_unchanged(path, status.st_size, status.st_mtime_ns, tolerate_damage)


@functools.cache
def _count_unchanged(path: Path, num_bytes: int, mtime_ns: int, tolerate_damage: bool) -> int:
    """The size and the time are part of the key only: a file that changed is counted again."""
    count = 0
    for span in walk_records(path):
        if span.problem and not tolerate_damage:
            raise damage_error(path, count, span.offset, span.problem)
        count += 1
    return count


def describe_damage(path: Path, index: int, offset: int, problem: str) -> str:
    """Which record is damaged and how, in the words that every part of the reader uses."""
    return f"{path}: record {index} at byte {offset} is damaged ({problem})"


def damage_error(path: Path, index: int, offset: int, problem: str) -> DataError:
    """The error about a damaged record, with what to do about it."""
    return DataError(
        f"{describe_damage(path, index, offset, problem)}; convert or copy the shard again, "
        "or allow some losses with --max_corrupt_records"
    )
