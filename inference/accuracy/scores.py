"""Scores predictions: top-1, top-5, their 95% intervals, and what is taken for what."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark_cnn import class_report
from benchmark_cnn.class_report import NO_CLASS, Confusion
from common.errors import DataError, UsageError
from inference.predictions.table import ALL, SUBSET, UNKNOWN_CLASS, Predictions

_Z = statistics.NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of each image whose class is known, in the order of the data set.

    Attributes:
        images: str [n].
        true: integers [n], the classes.
        classes: integers [n, k], the classes that compete, best first; NO_CLASS fills a row.
        probabilities: float32 [n, k], as the network gave them; NaN where there is no class.
        is_missing: bool [n], no prediction.
        top_1: bool [n], correct; False if missing.
        top_5: bool [n], or None if the table has too few classes of some image to know.
        num_competing: classes that compete.
        num_unlabeled: images whose class is not known. They are left out of all this.
    """

    images: np.ndarray
    true: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray
    is_missing: np.ndarray
    top_1: np.ndarray
    top_5: np.ndarray | None
    num_competing: int
    num_unlabeled: int

    @property
    def predicted(self) -> np.ndarray:
        """The class that ranks first, NO_CLASS if missing: integers [n]."""
        return self.classes[:, 0]


def outcomes_of(predictions: Predictions, classes: str | None = None) -> Outcomes:
    """Ranks the classes of each image, and compares them with the true one.

    Args:
        classes: Which of them compete: ALL, SUBSET, or None for those that were predicted.

    Raises:
        DataError: No image has a known class, or the table has too few classes of an image to know
            which class of the data ranks first.
        UsageError: All classes are wanted of a prediction that ranked a subset.
    """
    known = predictions.labels != UNKNOWN_CLASS
    if not known.any():
        raise DataError("no image has a known class, so that there is no accuracy")
    competing = competing_classes(predictions, classes)
    true, missing = predictions.labels[known], predictions.missing[known]
    ranked, probabilities = predictions.classes[known], predictions.probabilities[known]
    num_competing = len(predictions.manifest["class_names"])
    if competing is not None:
        num_competing = len(competing)
        ranked, probabilities = _only(competing, ranked, probabilities)
    hits = ranked == true[:, np.newaxis]
    depth = (ranked != NO_CLASS).sum(axis=1)

    def is_open(top: int) -> np.ndarray:
        """Whether a class that the table does not hold might be the true one, in the top `top`."""
        return ~missing & ~hits.any(axis=1) & (depth < min(top, num_competing))

    if is_open(1).any():
        image = predictions.images[known][int(np.argmax(is_open(1)))]
        raise DataError(
            f"none of the {predictions.classes.shape[1]} best classes of {image} is one of the "
            f"data's {num_competing} classes: predict with --classes={SUBSET}"
        )
    return Outcomes(
        images=predictions.images[known],
        true=true,
        classes=ranked,
        probabilities=probabilities,
        is_missing=missing,
        top_1=hits[:, 0],
        top_5=None if is_open(5).any() else hits[:, :5].any(axis=1),
        num_competing=num_competing,
        num_unlabeled=int(np.sum(~known)),
    )


def competing_classes(predictions: Predictions, classes: str | None) -> np.ndarray | None:
    """Returns the classes that compete, None for all; see `outcomes_of`.

    A subset is what the data set has: as its folders or its list of classes say, or, where these
    are all of the network's, the classes of its images.

    Raises:
        UsageError: All classes are wanted of a prediction that ranked a subset.
    """
    manifest = predictions.manifest
    predicted = manifest.get("classes", ALL)
    if predicted == SUBSET and classes == ALL:
        raise UsageError(
            f"--classes={ALL} has no effect on predictions with --classes={SUBSET}: predict again"
        )
    if SUBSET not in (predicted, classes):
        return None
    of_data = (manifest.get("data") or {}).get("classes") or ()
    if predicted == SUBSET or 0 < len(of_data) < len(manifest["class_names"]):
        return np.array(of_data, np.int32)
    return np.unique(predictions.labels[predictions.labels != UNKNOWN_CLASS])


def scores(outcomes: Outcomes, class_names: Sequence[str]) -> dict[str, Any]:
    """Returns the counts and accuracies as JSON has them, with `class_report.entries`."""
    confusion = Confusion.of(outcomes.true, outcomes.predicted, len(class_names))
    return {
        "images": len(outcomes.images),
        "missing": int(outcomes.is_missing.sum()),
        "missing_images": outcomes.images[outcomes.is_missing].tolist(),
        "unlabeled": outcomes.num_unlabeled,
        **accuracies(outcomes.top_1, outcomes.top_5),
        **class_report.entries(confusion, class_names),
    }


def accuracies(top_1: np.ndarray, top_5: np.ndarray | None) -> dict[str, Any]:
    """Returns top_1 and top_5, fractions, each with its interval; None for what is not known."""
    found: dict[str, Any] = {}
    for name, correct in (("top_1", top_1), ("top_5", top_5)):
        count, number = (None, 0) if correct is None else (int(correct.sum()), len(correct))
        found[name] = None if count is None else count / number
        found[f"{name}_interval"] = None if count is None else wilson(count, number)
    return found


def wilson(correct: int, number: int) -> tuple[float, float]:
    """Returns the 95% interval of a proportion (Wilson 1927); `number` is above 0.

    Unlike the normal approximation it stays within 0..1, and it is not empty at 0 and 1.
    """
    share = correct / number
    center = share + _Z**2 / (2 * number)
    radius = _Z * math.sqrt(share * (1 - share) / number + (_Z / (2 * number)) ** 2)
    scale = 1 + _Z**2 / number
    low, high = (center - radius) / scale, (center + radius) / scale
    # The bounds at the ends are exact; rounding would leave 1e-18.
    return (0.0 if correct == 0 else low, 1.0 if correct == number else high)


def _only(
    chosen: np.ndarray, classes: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Removes all classes but the chosen ones from each row; the rest keeps its order."""
    is_chosen = np.isin(classes, chosen)
    order = np.argsort(~is_chosen, axis=1, kind="stable")
    keeps = np.take_along_axis(is_chosen, order, axis=1)
    classes = np.where(keeps, np.take_along_axis(classes, order, axis=1), NO_CLASS)
    probabilities = np.where(keeps, np.take_along_axis(probabilities, order, axis=1), np.nan)
    return classes, probabilities.astype(np.float32)
