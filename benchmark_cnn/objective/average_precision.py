"""Mean average precision: how well the scores of each class rank its images before the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_CLASSES_IN_WORDS = 10


def average_precisions(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the average precision of each class, float64 [C]; NaN for one without an image.

    That is the sum over the distinct scores, the highest first, of the precision at that score
    times the recall that it adds; equal scores are one step, so that no order of the images
    matters. scikit-learn defines it in this way.

    Args:
        labels: [N, C], above 0 where an image has the class.
        scores: [N, C], higher for a likelier class. One that is not finite ranks last.
    """
    found = np.full(labels.shape[1], np.nan)
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    for number in range(labels.shape[1]):
        order = np.argsort(-scores[:, number], kind="stable")
        hits = np.cumsum(labels[order, number] > 0)
        if not len(hits) or not hits[-1]:
            continue
        sorted_scores = scores[order, number]
        ends = np.append(np.flatnonzero(sorted_scores[1:] != sorted_scores[:-1]), len(order) - 1)
        precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
        found[number] = np.sum(np.diff(recall, prepend=0.0) * precision)
    return found


def mean(precisions: np.ndarray) -> float:
    """Returns the mean over the classes that have images; NaN if none has any."""
    known = precisions[~np.isnan(precisions)]
    return float(known.mean()) if len(known) else float("nan")


def entries(precisions: np.ndarray, counts: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Returns `classes`, the lowest average precision first, as JSON has them.

    Args:
        counts: int64 [C], the images of each class; those without any are left out.
    """
    order = [int(n) for n in np.argsort(precisions, kind="stable") if counts[n]]
    return {
        "classes": [
            {
                "class": number,
                "name": names[number],
                "examples": int(counts[number]),
                "average_precision": float(precisions[number]),
            }
            for number in order
        ]
    }


def lines(entries: dict[str, Any], file: str) -> list[str]:
    """Returns `entries` for the console.

    Args:
        file: where a reader finds the classes that are left out.
    """
    classes = entries["classes"]
    found = ["Average precision of each class, lowest first:"]
    for entry in classes[:_CLASSES_IN_WORDS]:
        found.append(
            f"  {entry['average_precision']:7.2%}  {entry['examples']:>10,} images  {entry['name']}"
        )
    if len(classes) > _CLASSES_IN_WORDS:
        found.append(f"  {len(classes) - _CLASSES_IN_WORDS:,} more classes are in {file}")
    return found
