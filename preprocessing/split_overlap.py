"""Images that are in both splits, by the fingerprints of their encoded bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from preprocessing.shard_check import ShardReport

# The real ImageNet has a few images twice; a shard of the other split has nothing else.
_LARGEST_SHARE = 0.1


def problems_of_overlap(
    train: Sequence[ShardReport], validation: Sequence[ShardReport]
) -> tuple[list[str], int]:
    """A line for every validation shard that is largely training data, and the images in both."""
    seen = np.sort(np.concatenate([report.fingerprints for report in train]))
    problems, num_shared = [], 0
    for report in validation:
        shared = report.indices[np.isin(report.fingerprints, seen)]
        num_shared += len(shared)
        if len(shared) > _LARGEST_SHARE * len(report.indices):
            problems.append(
                f"{report.path}: record {shared[0]}: its image, and those of {len(shared)} of "
                f"{len(report.indices)} records, are in the train split too"
            )
    return problems, num_shared
