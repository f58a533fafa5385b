"""Checks every record of a converted data set: `python -m preprocessing.verify DIR`.

It checks checksums, labels, that there is an image, that the splits are not mixed up (by the names
of ImageNet's images, and by images that are in both), that each file is the one of manifest.json,
and that images decode: those that seem cut off, and of the others every --decode_every-th or, with
--decode, all. Every problem is one line. The exit code is 0 if there is none, else 3.

With --duplicates it looks for copies of images instead, exact ones and near ones, within and across
the splits; DIR may also be a folder of class folders. The exit code is 3 if there are copies across
splits, else 0.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark_cnn.params.data_params import DataParams
from common import commands, paths
from common.commands import at_least
from common.errors import DataError, UsageError
from common.process import start_tensorflow
from download_and_convert_imagenet.records.manifest import read_manifest
from preprocessing import registry
from preprocessing.own_photos import photos
from preprocessing.records.counts import IMAGENET_SPLITS
from preprocessing.records.shards import SUBSETS, ShardSet, list_shards

if TYPE_CHECKING:
    import numpy as np

    from preprocessing.integrity.shard_check import ShardReport

_PROGRESS_SECS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks the directory of the command line, prints what it finds, returns the exit code."""
    options = _parser().parse_args(arguments)
    return commands.run(lambda: _verify(options))


def _verify(options: argparse.Namespace) -> int:
    if options.duplicates:
        return DataError.exit_code if _find_duplicates(options) else 0
    if photos.holds_photos(options.data_dir):
        options.data_dir = photos.records_of(options.data_dir).path
    start_tensorflow()
    num_problems = _check(options.data_dir, options)
    return DataError.exit_code if num_problems else 0


def _check(data_dir: Path, options: argparse.Namespace) -> int:
    """Prints the problems and the summary of every split; returns the number of problems."""
    # The files first: opening a data set may write it.
    splits, incomplete = _splits_in(data_dir, options.split)
    dataset = registry.open_dataset(DataParams(data_dir=str(data_dir), data_name=options.data_name))
    if dataset.multi_label and options.counts:
        raise UsageError("--counts has no effect on images of several labels")
    absent = _absent_splits(data_dir) if options.split is None else []
    for line in incomplete + absent:
        print(line)
    num_problems = len(incomplete) + len(absent)
    found: dict[str, list[ShardReport]] = {}
    for shards in splits:
        reports = found[shards.subset] = _check_with_progress(shards, dataset.num_classes, options)
        problems = [line for report in reports for line in report.problems]
        problems += _absent_files(shards)
        for line in problems:
            print(line)
        print(summary(shards, dataset.name, reports, len(problems)))
        if options.counts:
            print("\n".join(counts(shards, reports)))
        num_problems += len(problems)
    num_problems += _compare_splits(found)
    return num_problems


def _find_duplicates(options: argparse.Namespace) -> int:
    """Prints a line for every image with a copy before it; returns how many have one across."""
    from preprocessing.integrity import duplicates

    directory = options.data_dir
    present = [
        subset for subset in SUBSETS if directory.is_dir() and _has_shards(directory, subset)
    ]
    if present:
        start_tensorflow()
        chosen = [name for name in present if options.split in (None, name)]
        shards = {name: list_shards(directory, name).paths for name in chosen}
        sources = duplicates.of_records(shards)
    else:
        sources = duplicates.of_folders(directory)
    images = duplicates.look_at(sources, options.num_threads)
    duplicates.refuse_empty(images, directory)
    for line in images.unreadable:
        print(f"not compared: {line}")
    copies = duplicates.find_copies(images, options.max_distance)
    across = [copy for copy in copies if duplicates.crosses_splits(images, copy)]
    within = [copy for copy in copies if not duplicates.crosses_splits(images, copy)]
    for copy in (*across, *within):
        print(duplicates.describe(images, copy))
    print(
        f"{len(images.names):,} images compared: {len(across):,} have a copy in another split, "
        f"{len(within):,} only in their own"
    )
    return len(across)


def _has_shards(directory: Path, split: str) -> bool:
    return any(any(place.glob(f"{split}-*-of-*")) for place in (directory, directory / split))


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser("python -m preprocessing.verify", __doc__, allow_abbrev=False)
    parser.add_argument(
        "data_dir",
        metavar="DIR",
        type=paths.argument,
        help="directory with train-* and validation-* shards, or a folder of photos, of which the "
        "records are checked that train.py reads",
    )
    parser.add_argument("--data_name", choices=registry.names(), help="guessed when left out")
    parser.add_argument("--split", choices=SUBSETS, help="check this one only")
    parser.add_argument("--decode", action="store_true", help="decode every image (slow)")
    parser.add_argument(
        "--decode_every",
        type=at_least(0),
        default=100,
        help="else decode one image of so many; with 0 only images that seem cut off",
    )
    parser.add_argument("--counts", action="store_true", help="list examples per shard and class")
    parser.add_argument(
        "--num_threads", type=at_least(1), default=os.cpu_count() or 1, help="files at a time"
    )
    parser.add_argument("--duplicates", action="store_true", help="look for copies of images")
    parser.add_argument(
        "--max_distance",
        type=at_least(0),
        default=4,
        metavar="BITS",
        help="of 64, by which the hashes of near copies differ at most (default: 4); "
        "0: the same hash",
    )
    return parser


def _splits_in(data_dir: Path, split: str | None) -> tuple[list[ShardSet], list[str]]:
    """Finds the split that was asked for, else every split that has a file.

    Returns:
        (the splits, a line for each split whose set of files is not complete).

    Raises:
        DataError: there is only one split to check, or none, and it is not complete.
    """
    present = [subset for subset in SUBSETS if split is None and _is_present(data_dir, subset)]
    splits, problems = [], []
    for subset in present or [split or SUBSETS[0]]:
        try:
            splits.append(list_shards(data_dir, subset))
        except DataError as error:
            if len(present) < 2:
                raise
            problems.append(str(error))
    return splits, problems


def _is_present(data_dir: Path, split: str) -> bool:
    return any(data_dir.glob(f"{split}-*-of-*")) or (data_dir / split).is_dir()


def _absent_splits(data_dir: Path) -> list[str]:
    """Returns a line for each split of the manifest without any file."""
    manifest = read_manifest(data_dir)
    return [
        f"{data_dir} holds no {split} shards, the manifest has {len(listed)}"
        for split, listed in (manifest.splits.items() if manifest else ())
        if listed and not _is_present(data_dir, split)
    ]


def _check_with_progress(
    shards: ShardSet, num_classes: int, options: argparse.Namespace
) -> list[ShardReport]:
    """Checks a split and returns its reports; on a terminal, a line shows the progress."""
    # It imports TensorFlow, which --help does not need.
    from preprocessing.integrity.shard_check import check_split

    started = last_shown = time.monotonic()
    reports: list[ShardReport] = []
    num_bytes = 0
    for report in check_split(
        shards,
        num_classes,
        decode_every=1 if options.decode else options.decode_every,
        num_threads=options.num_threads,
    ):
        reports.append(report)
        num_bytes += report.num_bytes
        now = time.monotonic()
        if sys.stderr.isatty() and now - last_shown > _PROGRESS_SECS:
            last_shown = now
            speed = num_bytes / (now - started) / 1e6
            line = (
                f"{shards.subset}: {len(reports)} of {len(shards.paths)} shards, {speed:.0f} MB/s"
            )
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
    if last_shown > started:
        print("\r\x1b[K", end="", file=sys.stderr)
    return reports


def _absent_files(shards: ShardSet) -> list[str]:
    """Returns a line for each file that only the manifest has, or only the directory."""
    present = {path.name for path in shards.paths}
    listed = set(shards.listed)
    if shards.manifest is None:
        return []
    if not listed:
        return [f"{shards.directory}: the manifest does not list the {shards.subset} shards"]
    return [
        *(
            f"{shards.directory / name} is missing, the manifest has it"
            for name in sorted(listed - present)
        ),
        *(f"{shards.directory / name} is not in the manifest" for name in sorted(present - listed)),
    ]


def _compare_splits(found: Mapping[str, Sequence[ShardReport]]) -> int:
    """Prints what each two splits have in common; returns the number of problems."""
    from preprocessing.integrity.shard_check import problems_of_overlap

    num_problems = 0
    for first, second in itertools.combinations(found, 2):
        problems, num_shared = problems_of_overlap(found[first], found[second], first)
        for line in problems:
            print(line)
        if num_shared:
            both = "both splits" if len(found) == 2 else f"{first} and {second}"
            print(f"images in {both}: {num_shared:,}")
        num_problems += len(problems)
    return num_problems


def summary(shards: ShardSet, name: str, reports: Sequence[ShardReport], num_problems: int) -> str:
    """Returns one line: the contents of the split and the verdict."""
    num_examples = sum(report.num_examples for report in reports)
    num_bytes = sum(report.num_bytes for report in reports)
    per_class = _per_class(reports)
    per_shard = [report.num_examples for report in reports]
    complete = IMAGENET_SPLITS.get(shards.subset, (0, 0))[1]
    partial = f" (all of ImageNet: {complete:,})" if num_examples != complete else ""
    classes = (
        f"{(per_class > 0).sum()} of {len(per_class)} classes with {per_class.min()} to "
        f"{per_class.max()} examples each"
    )
    if shards.manifest is not None and shards.manifest.multi_label:
        classes = f"any number of {len(per_class)} labels each"
    return (
        f"{shards.subset}: {len(reports)} shards, {num_bytes / 1e9:.2f} GB, "
        f"{num_examples:,} examples{partial if name == 'imagenet' else ''}, "
        f"{min(per_shard)} to {max(per_shard)} a shard, "
        f"{classes}: " + (f"problems: {num_problems}" if num_problems else "intact")
    )


def counts(shards: ShardSet, reports: Sequence[ShardReport]) -> Iterator[str]:
    """Yields a line for every shard, and for every class by its label and, if known, its name."""
    for report in reports:
        yield f"{report.path.name}\t{report.num_examples}"
    names = shards.manifest.class_names if shards.manifest else ()
    for label, count in enumerate(_per_class(reports), 1):
        name = names[label - 1] if label <= len(names) else ""
        yield f"{shards.subset} label {label}\t{count}\t{name}".rstrip()


def _per_class(reports: Sequence[ShardReport]) -> np.ndarray:
    return sum(report.class_counts for report in reports[1:]) + reports[0].class_counts


if __name__ == "__main__":
    sys.exit(main())
