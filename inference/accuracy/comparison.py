"""Compares predictions of one data set: agreement, and McNemar's test of a difference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from common.errors import DataError
from inference.accuracy.scores import Outcomes
from inference.predictions.table import Predictions

# Above it the approximation has the same digits, and the exact sum takes longer than all the rest.
_MOST_EXACT = 1000


def check_comparable(named: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """Returns the predictions with their images in the order of the first.

    Raises:
        DataError: They are of other images, of other true classes, or of networks with other
            classes, so that no image-by-image comparison means anything.
    """
    (first_name, first), *others = named.items()
    place_of = {image: place for place, image in enumerate(first.images)}
    found = {first_name: first}
    for name, other in others:
        both = f"{first_name} and {name}"
        differing = set(place_of) ^ set(other.images)
        if differing:
            raise DataError(
                f"{both} are of other images: only one of them has {min(differing)} (of "
                f"{len(first.images):,} and {len(other.images):,} images)"
            )
        if list(first.manifest["class_names"]) != list(other.manifest["class_names"]):
            raise DataError(f"{both} are of networks with other classes")
        order = np.argsort([place_of[image] for image in other.images])
        if (other.labels[order] != first.labels).any():
            image = first.images[int(np.argmax(other.labels[order] != first.labels))]
            raise DataError(f"{both} are of other labels: those of {image} differ")
        found[name] = Predictions(
            other.manifest,
            first.images,
            first.labels,
            other.classes[order],
            other.probabilities[order],
        )
    return found


def compare(named: Mapping[str, Outcomes]) -> list[dict[str, Any]]:
    """Returns an entry for each two of the artifacts, whose images are in one order.

    An entry has `first` and `second`, the share of images with the same top-1 class as
    `agreement`, how often only one of them is correct, and `mcnemar`. Two missing predictions do
    not agree.
    """
    entries = []
    for (name_1, first), (name_2, second) in itertools.combinations(named.items(), 2):
        only_first = int(np.sum(first.top_1 & ~second.top_1))
        only_second = int(np.sum(~first.top_1 & second.top_1))
        agrees = (first.predicted == second.predicted) & ~first.is_missing
        entries.append(
            {
                "first": name_1,
                "second": name_2,
                "agreement": float(agrees.mean()),
                "only_first_correct": only_first,
                "only_second_correct": only_second,
                "mcnemar": mcnemar(only_first, only_second),
            }
        )
    return entries


def mcnemar(only_first: int, only_second: int) -> dict[str, Any]:
    """Tests whether two networks that saw the same images are equally accurate (McNemar 1947).

    Args:
        only_first: Images that only the first network has correct.
        only_second: Images that only the second one has correct.

    Returns:
        `p_value`, two-sided, and `method`: "exact" (the binomial distribution) for up to 1000 such
        images, else "chi_squared" with the continuity correction, with `statistic`.
    """
    number = only_first + only_second
    if number <= _MOST_EXACT:
        tail = sum(math.comb(number, k) for k in range(min(only_first, only_second) + 1))
        return {"method": "exact", "p_value": min(1.0, 2 * tail / 2**number)}
    statistic = max(abs(only_first - only_second) - 1, 0) ** 2 / number
    # The tail of the chi-squared distribution with one degree of freedom.
    p_value = math.erfc(math.sqrt(statistic / 2))
    return {"method": "chi_squared", "p_value": p_value, "statistic": statistic}
