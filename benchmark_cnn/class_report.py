"""Reports what a network mistakes for what: top-1 of each class, and the most confused pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

PAIRS_IN_WORDS = 3
_PAIRS_IN_JSON = 20
_CLASSES_IN_WORDS = 10
NO_CLASS = -1  # predicted: nothing, or none of the classes


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Counts how often each class was predicted as each.

    Only the pairs that occurred are kept: the matrix of 21,000 classes has 441 million entries.

    Attributes:
        num_classes: classes are numbered from 0.
        true, predicted: int64 [pairs], each pair once; `predicted` may be NO_CLASS.
        counts: int64 [pairs], above 0.
    """

    num_classes: int
    true: np.ndarray
    predicted: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, true: np.ndarray, predicted: np.ndarray, num_classes: int) -> Confusion:
        """Counts examples: `true` and `predicted` are integers [examples]."""
        width = num_classes + 1
        codes = true.astype(np.int64) * width + predicted.astype(np.int64) + 1
        codes, counts = np.unique(codes, return_counts=True)
        return cls(num_classes, codes // width, codes % width - 1, counts.astype(np.int64))

    @property
    def examples(self) -> np.ndarray:
        """The number of examples of each class, int64 [num_classes]."""
        return self._sum_by(self.true, np.ones(len(self.true), bool))

    @property
    def correct(self) -> np.ndarray:
        """The number of examples of each class that were predicted as it, int64 [num_classes]."""
        return self._sum_by(self.true, self.true == self.predicted)

    @property
    def f1(self) -> np.ndarray:
        """The F1 of each class, 2 TP / (2 TP + FP + FN), float64 [num_classes]; 0 for 0 / 0."""
        predictions = self._sum_by(self.predicted, self.predicted != NO_CLASS)
        return 2 * self.correct / np.maximum(self.examples + predictions, 1)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have examples."""
        return float(self.f1[self.examples > 0].mean())

    def worst_first(self) -> np.ndarray:
        """Returns the classes that have examples, the lowest top-1 first, ties by number."""
        examples = self.examples
        with_examples = np.flatnonzero(examples)
        top_1 = self.correct[with_examples] / examples[with_examples]
        return with_examples[np.argsort(top_1, kind="stable")]

    def confused_pairs(self, number: int) -> list[tuple[int, int, int]]:
        """Returns the most frequent (true class, predicted class, count), ties by class numbers."""
        wrong = np.flatnonzero((self.true != self.predicted) & (self.predicted != NO_CLASS))
        order = wrong[np.argsort(-self.counts[wrong], kind="stable")][:number]
        columns = (self.true[order], self.predicted[order], self.counts[order])
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _sum_by(self, classes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        sums = np.zeros(self.num_classes, np.int64)
        np.add.at(sums, classes[chosen], self.counts[chosen])
        return sums


def entries(confusion: Confusion, names: Sequence[str]) -> dict[str, Any]:
    """Returns `macro_f1`, `classes` (worst first) and `confused_pairs`, as JSON has them."""
    examples, correct, f1 = confusion.examples, confusion.correct, confusion.f1
    return {
        "macro_f1": confusion.macro_f1,
        "classes": [
            {
                "class": int(number),
                "name": names[number],
                "examples": int(examples[number]),
                "correct": int(correct[number]),
                "top_1": float(correct[number] / examples[number]),
                "f1": float(f1[number]),
            }
            for number in confusion.worst_first()
        ],
        "confused_pairs": [
            {
                "true": true,
                "predicted": predicted,
                "true_name": names[true],
                "predicted_name": names[predicted],
                "count": count,
                "examples": int(examples[true]),
            }
            for true, predicted, count in confusion.confused_pairs(_PAIRS_IN_JSON)
        ],
    }


def lines(entries: dict[str, Any], file: str, *, most: int = _CLASSES_IN_WORDS) -> list[str]:
    """Returns `entries` for the console: the worst classes, and the most confused pairs.

    Args:
        file: where a reader finds the classes that are left out.
        most: classes that are listed.
    """
    classes, pairs = entries["classes"], entries["confused_pairs"][:PAIRS_IN_WORDS]
    found = [f"Top-1 of {'each class' if len(classes) > 1 else 'the class'}, worst first:"]
    for entry in classes[:most]:
        share = f"{entry['correct']:,} of {entry['examples']:,}"
        found.append(f"  {entry['top_1']:7.2%}  {share:>15}  {entry['name']}")
    if len(classes) > most:
        found.append(f"  {len(classes) - most:,} more classes are in {file}")
    found.append("Most confused:" if pairs else "Most confused: no class with another")
    for pair in pairs:
        share = f"{pair['count']:,} of {pair['examples']:,}"
        found.append(f"  {share:>15}  {pair['true_name']} taken for {pair['predicted_name']}")
    return found
