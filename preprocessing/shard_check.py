"""Checking whole files: every checksum, label and image, going on past what is unsound."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocessing.damaged_records import intact_records, verify_shard
from preprocessing.record_counts import describe_damage
from preprocessing.record_problems import check_records, describe_problem
from preprocessing.shards import ShardSet


@dataclass(frozen=True)
class ShardReport:
    """What was found in one file.

    Attributes:
        num_examples: records with intact checksums.
        num_damaged: stretches of the file in which the checksums do not fit.
        class_counts: int64 [num_classes], over the records without any problem.
        problems: one line each.
    """

    num_bytes: int
    num_examples: int
    num_damaged: int
    class_counts: np.ndarray
    problems: tuple[str, ...]


def check_shard(path: Path, num_classes: int, *, decode: bool) -> ShardReport:
    """Check every record of a file; with `decode`, decode every image too."""
    contents = verify_shard(path)
    problems = [
        describe_damage(path, index, span.offset, span.problem) for index, span in contents.damaged
    ]
    class_counts = np.zeros(num_classes, np.int64)
    for index, result in check_records(intact_records(path, contents), num_classes, decode=decode):
        if isinstance(result, str):
            problems.append(describe_problem(path, index, result))
        else:
            class_counts[result] += 1
    return ShardReport(
        num_bytes=path.stat().st_size,
        num_examples=contents.num_intact,
        num_damaged=len(contents.damaged),
        class_counts=class_counts,
        problems=tuple(problems),
    )


def check_split(
    shards: ShardSet, num_classes: int, *, decode: bool, num_threads: int
) -> Iterator[ShardReport]:
    """The reports of a split's files in their order, `num_threads` files being read at a time."""
    with ThreadPoolExecutor(num_threads) as threads:
        yield from threads.map(
            lambda path: check_shard(path, num_classes, decode=decode), shards.paths
        )
