"""Check every record of a converted data set: `python -m preprocessing.verify DIR`.

Checksums, labels, that there is an image, that the splits are not mixed up (by the names of
ImageNet's images, and by images that are in both), that each file is the one of manifest.json; and
that images decode, one in --decode_every of them or with --decode all. Every problem is a line of
its own. The exit code is 0 when there is none, else 3.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preprocessing import registry
from preprocessing.errors import DataError
from preprocessing.record_counts import IMAGENET_SPLITS
from preprocessing.shards import SUBSETS, ShardSet, find_shards

if TYPE_CHECKING:
    import numpy as np

    from preprocessing.shard_check import ShardReport

_PROGRESS_SECS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what the command line names, print what was found, return the exit code."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        dataset = registry.open_dataset(data_dir=options.data_dir, data_name=options.data_name)
        splits = _splits_in(Path(options.data_dir).expanduser(), options.split)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    num_problems = 0
    found: dict[str, list[ShardReport]] = {}
    for shards in splits:
        reports = found[shards.subset] = _check_with_progress(shards, dataset.num_classes, options)
        problems = [line for report in reports for line in report.problems]
        problems += _absent_files(shards)
        for line in problems:
            print(line)
        print(_summary(shards, dataset.name, reports, len(problems)))
        if options.counts:
            _print_counts(shards, reports)
        num_problems += len(problems)
    if len(found) == len(SUBSETS):
        num_problems += _compare_splits(found)
    return DataError.exit_code if num_problems else 0


def _parser() -> argparse.ArgumentParser:
    summary, details = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        "python -m preprocessing.verify", description=summary, epilog=details, allow_abbrev=False
    )
    parser.add_argument("data_dir", help="directory with train-* and validation-* shards")
    parser.add_argument("--data_name", choices=registry.names(), help="guessed when left out")
    parser.add_argument("--split", choices=SUBSETS, help="check this one only")
    parser.add_argument("--decode", action="store_true", help="decode every image (slow)")
    parser.add_argument(
        "--decode_every", type=int, default=100, help="else decode one image of so many, 0 for none"
    )
    parser.add_argument("--counts", action="store_true", help="list examples per shard and class")
    parser.add_argument("--num_threads", type=int, default=os.cpu_count(), help="files at a time")
    return parser


def _splits_in(data_dir: Path, split: str | None) -> list[ShardSet]:
    """The split that was asked for, else every split of which there is a file."""
    if split is not None:
        return [find_shards(data_dir, split)]
    present = [
        subset
        for subset in SUBSETS
        if any(data_dir.glob(f"{subset}-*-of-*")) or (data_dir / subset).is_dir()
    ]
    return [find_shards(data_dir, subset) for subset in present or SUBSETS]


def _check_with_progress(
    shards: ShardSet, num_classes: int, options: argparse.Namespace
) -> list[ShardReport]:
    """All reports of a split; on a terminal, with a line that says how far it is."""
    from preprocessing.shard_check import (
        check_split,
    )  # with TensorFlow, which --help can do without

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
    """Files of the split that the manifest lists and that are not there, or the other way round."""
    present = {path.name for path in shards.paths}
    listed = set(shards.listed)
    if not listed:
        return []
    return [
        *(
            f"{shards.directory / name} is missing, the manifest has it"
            for name in sorted(listed - present)
        ),
        *(f"{shards.directory / name} is not in the manifest" for name in sorted(present - listed)),
    ]


def _compare_splits(found: Mapping[str, Sequence[ShardReport]]) -> int:
    """Print what the splits have in common; returns the number of problems."""
    from preprocessing.split_overlap import problems_of_overlap

    problems, num_shared = problems_of_overlap(found["train"], found["validation"])
    for line in problems:
        print(line)
    if num_shared:
        print(f"images in both splits: {num_shared:,}")
    return len(problems)


def _print_counts(shards: ShardSet, reports: Sequence[ShardReport]) -> None:
    """Examples of every shard, and of every class by its label (and its name, if it is known)."""
    for report in reports:
        print(f"{report.path.name}\t{report.num_examples}")
    names = shards.manifest.class_names if shards.manifest else ()
    for label, count in enumerate(_per_class(reports), 1):
        name = names[label - 1] if label <= len(names) else ""
        print(f"{shards.subset} label {label}\t{count}\t{name}".rstrip())


def _per_class(reports: Sequence[ShardReport]) -> np.ndarray:
    return sum(report.class_counts for report in reports[1:]) + reports[0].class_counts


def _summary(shards: ShardSet, name: str, reports: Sequence[ShardReport], num_problems: int) -> str:
    """One line: what the split holds, and the verdict."""
    num_examples = sum(report.num_examples for report in reports)
    num_bytes = sum(report.num_bytes for report in reports)
    per_class = _per_class(reports)
    per_shard = [report.num_examples for report in reports]
    complete = IMAGENET_SPLITS[shards.subset][1]
    partial = f" (all of ImageNet: {complete:,})" if num_examples != complete else ""
    return (
        f"{shards.subset}: {len(reports)} shards, {num_bytes / 1e9:.2f} GB, "
        f"{num_examples:,} examples{partial if name == 'imagenet' else ''}, "
        f"{min(per_shard)} to {max(per_shard)} a shard, "
        f"{(per_class > 0).sum()} of {len(per_class)} classes with {per_class.min()} to "
        f"{per_class.max()} examples each: "
        + (f"problems: {num_problems}" if num_problems else "intact")
    )


if __name__ == "__main__":
    sys.exit(main())
