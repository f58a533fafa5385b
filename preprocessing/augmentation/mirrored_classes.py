"""Whether a data set's classes look like ones that mirroring would mix up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark_cnn.params.data_params import DataParams

if TYPE_CHECKING:  # it imports TensorFlow, which takes seconds
    from benchmark_cnn.interfaces import Dataset

_SIDES = frozenset({"left", "right", "links", "rechts", "gauche", "droite"})
_MOST_LISTED = 4
# Their views are not mirrored, or are since it was published so.
_DECIDED = ("digits", "cifar10")


def note(dataset: Dataset, data: DataParams) -> str | None:
    """Returns a line for a user that has not decided on --horizontal_flip and perhaps should."""
    if data.horizontal_flip is not None or dataset.synthetic or dataset.name in _DECIDED:
        return None
    suspects = doubtful_classes(dataset.describe().class_names)
    if not suspects:
        return None
    listed = ", ".join(suspects[:_MOST_LISTED]) + (", ..." if len(suspects) > _MOST_LISTED else "")
    return (
        "Note: every other training image is mirrored. Give --horizontal_flip=off if classes are "
        f"mirror images of others ({listed}), or --horizontal_flip=on if not"
    )


def doubtful_classes(names: Sequence[str]) -> list[str]:
    """Returns the names that say left or right, and single letters and digits if they are two."""
    sides = [name for name in names if _SIDES & {word.lower() for word in _words(name)}]
    signs = [name for name in names if len(name) == 1 and name.isalnum()]
    return list(dict.fromkeys(sides + (signs if len(signs) > 1 else [])))


def _words(name: str) -> list[str]:
    """Splits "turnLeft_2" into turn, Left and 2."""
    return re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
