"""Checks whole files: every checksum, label and image; problems are reported, not raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import DataError
from common.files import sha256_of
from download_and_convert_imagenet.records.manifest import Shard
from preprocessing.integrity.contents import ShardContents, verify_shard
from preprocessing.integrity.record_checks import check_records, describe_problem
from preprocessing.records.counts import describe_damage
from preprocessing.records.foreign_files import foreign_file
from preprocessing.records.shards import ShardSet, size_problem
from preprocessing.records.split_check import other_split

# ImageNet has a few images twice; a shard of the other split has only such images.
_LARGEST_SHARE = 0.1


@dataclass(frozen=True)
class ShardReport:
    """The findings about one file.

    Attributes:
        num_examples: the number of records with intact checksums.
        class_counts: int64 [num_classes], the labels of the valid records; zeros of several labels.
        indices, fingerprints: int64 [num_valid], their numbers and the hashes of their images.
        problems: one line each.
    """

    path: Path
    num_bytes: int
    num_examples: int
    class_counts: np.ndarray
    indices: np.ndarray
    fingerprints: np.ndarray
    problems: tuple[str, ...]


def check_split(
    shards: ShardSet, num_classes: int, *, decode_every: int, num_threads: int
) -> Iterator[ShardReport]:
    """Yields the reports of a split's files in order, reading `num_threads` files at a time."""
    listed = shards.listed
    with ThreadPoolExecutor(num_threads) as threads:
        yield from threads.map(
            lambda path: check_shard(
                path,
                shards.subset,
                num_classes,
                decode_every=decode_every,
                listed=listed.get(path.name),
            ),
            shards.paths,
        )


def check_shard(
    path: Path, subset: str, num_classes: int, *, decode_every: int, listed: Shard | None = None
) -> ShardReport:
    """Checks every record of a file, and the file against its entry in the manifest.

    An empty or unreadable file, or one of another format, is reported as a problem, too.
    """
    foreign = foreign_file(path)
    problem = foreign or size_problem(path, listed)
    try:
        if not foreign and path.stat().st_size:
            return _check_records(path, subset, num_classes, decode_every, listed)
    except DataError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
    nothing = np.zeros([0], np.int64)
    return ShardReport(path, 0, 0, np.zeros([num_classes], np.int64), nothing, nothing, (problem,))


def problems_of_overlap(
    first: Sequence[ShardReport], second: Sequence[ShardReport], name: str = "train"
) -> tuple[list[str], int]:
    """Finds images that are in both splits, by the fingerprints of their encoded bytes.

    Args:
        name: of the first split.

    Returns:
        (a line for every shard of the second that is largely data of the first, the number of
        images that are in both splits).
    """
    seen = np.sort(np.concatenate([report.fingerprints for report in first]))
    problems, num_shared = [], 0
    for report in second:
        shared = report.indices[np.isin(report.fingerprints, seen)]
        num_shared += len(shared)
        if len(shared) > _LARGEST_SHARE * len(report.indices):
            problems.append(
                f"{report.path}: record {shared[0]}: its image, and those of {len(shared)} of "
                f"{len(report.indices)} records, are in the {name} split too"
            )
    return problems, num_shared


def _check_records(
    path: Path, subset: str, num_classes: int, decode_every: int, listed: Shard | None
) -> ShardReport:
    contents = verify_shard(path)
    problem = size_problem(path, listed)
    problems = [problem] if problem else []
    problems += [
        describe_damage(path, index, span.offset, span.problem) for index, span in contents.damaged
    ]
    valid = []
    for checked in check_records(path, contents, num_classes, decode_every=decode_every):
        problem = checked.problem or other_split(checked.name, subset)
        if problem:
            problems.append(describe_problem(path, checked.index, problem))
        else:
            valid.append((checked.index, checked.fingerprint, checked.label))
    indices, fingerprints, labels = np.array(valid, np.int64).reshape(-1, 3).T
    problems += _problems_of_manifest(path, contents, listed, is_valid=not problems)
    return ShardReport(
        path=path,
        num_bytes=path.stat().st_size,
        num_examples=len(contents.intact),
        class_counts=np.bincount(labels[labels >= 0], minlength=num_classes),
        indices=indices,
        fingerprints=fingerprints,
        problems=tuple(problems),
    )


def _problems_of_manifest(
    path: Path, contents: ShardContents, listed: Shard | None, *, is_valid: bool
) -> list[str]:
    """Compares a file with its entry in the manifest."""
    if listed is None:
        return []
    num_intact = len(contents.intact)
    if listed.num_examples != num_intact + len(contents.damaged):
        return [f"{path}: {num_intact} intact records, the manifest says {listed.num_examples}"]
    # A file with a damaged record has another checksum, which would be no news.
    if is_valid and listed.sha256 and sha256_of(path) != listed.sha256:
        return [f"{path}: every record is intact, but it is not the file of the manifest (SHA-256)"]
    return []
