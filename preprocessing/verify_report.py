"""What `preprocessing.verify` says of a split: its summary, and the counts of its examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from preprocessing.record_counts import IMAGENET_SPLITS
from preprocessing.shards import ShardSet

if TYPE_CHECKING:
    import numpy as np

    from preprocessing.shard_check import ShardReport


def counts(shards: ShardSet, reports: Sequence[ShardReport]) -> Iterator[str]:
    """A line for every shard, and for every class by its label (and its name, if it is known)."""
    for report in reports:
        yield f"{report.path.name}\t{report.num_examples}"
    names = shards.manifest.class_names if shards.manifest else ()
    for label, count in enumerate(_per_class(reports), 1):
        name = names[label - 1] if label <= len(names) else ""
        yield f"{shards.subset} label {label}\t{count}\t{name}".rstrip()


def summary(shards: ShardSet, name: str, reports: Sequence[ShardReport], num_problems: int) -> str:
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


def _per_class(reports: Sequence[ShardReport]) -> np.ndarray:
    return sum(report.class_counts for report in reports[1:]) + reports[0].class_counts
