"""`--class_weights`: how much the loss of an example weighs, by its class."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import paths
from common.commands import did_you_mean
from common.errors import DataError

NONE, BALANCED = "none", "balanced"
_MOST_NAMED = 5


class ClassWeights(NamedTuple):
    """Weights of the classes, class 0 first, and a few words about them."""

    values: np.ndarray  # float32 [classes]
    description: str


def class_weights(
    wanted: str, names: Sequence[str], counts: np.ndarray, *, drawn_equally: bool = False
) -> ClassWeights:
    """Returns the weights that `--class_weights=wanted` asks for, other than NONE.

    The weights are scaled so that their mean over the examples of an epoch is 1: only their
    proportions matter, and a learning rate means what it means without weights.

    Args:
        wanted: BALANCED, or the path of a file; see `read_weights`.
        names: of the classes, class 0 first.
        counts: integers [classes], training examples.
        drawn_equally: whether an epoch has equally many examples of each class that has any.

    Raises:
        DataError: the file cannot be read, or does not give every class a weight.
    """
    present = counts > 0
    if wanted == BALANCED:
        # n / (k n_c) for the k classes that have examples, as scikit-learn has it.
        weights = np.ones(len(names))
        weights[present] = counts.sum() / (present.sum() * counts[present])
        title = BALANCED
    else:
        weights = read_weights(Path(wanted), names)
        title = f"by {paths.one_line(wanted)}"
    drawn = present.astype(float) if drawn_equally else counts.astype(float)
    largest = weights[present].max()
    if largest == 0:
        raise DataError(f"{wanted} gives a weight of 0 to every class that has training images")
    with np.errstate(over="ignore", under="ignore"):
        scaled = weights / largest  # a sum of the largest numbers would be infinite
        scaled = (scaled / float(scaled @ drawn / drawn.sum())).astype(np.float32)
    if not (np.isfinite(scaled).all() and np.array_equal(scaled > 0, weights > 0)):
        raise DataError(f"--class_weights={wanted}: the weights differ by more than float32 holds")
    order = np.argsort(np.where(present, scaled, np.nan))[: present.sum()]  # NaN sorts last
    least, most = int(order[0]), int(order[-1])
    description = (
        f"class weights {title}: {scaled[least]:.3g} ({names[least]}) to {scaled[most]:.3g} "
        f"({names[most]}), mean 1"
    )
    return ClassWeights(scaled, description)


def read_weights(path: Path, names: Sequence[str]) -> np.ndarray:
    """Reads the weight of each class: float64 [classes], at least 0.

    The file is JSON, `{"cat": 1, "dog": 2.5}`, or CSV with a line for each class, `cat,1`, and
    perhaps a header, `class,weight`.

    Raises:
        DataError: it cannot be read, or names other classes than `names`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text in UTF-8"
        raise DataError(f"--class_weights={path}: {reason}") from error
    pairs = _pairs_of_json(path, text) if text.lstrip()[:1] == "{" else _pairs_of_csv(path, text)
    number_of = {paths.one_line(name): number for number, name in enumerate(names)}
    weights = np.full(len(names), np.nan)
    for name, value in pairs:
        number = number_of.get(name)
        if number is None:
            raise DataError(
                f"--class_weights={path}: {name!r} is none of the {len(names)} classes, "
                f"{_listed(names)}{did_you_mean(name, names)}"
            )
        if not np.isnan(weights[number]):
            raise DataError(f"--class_weights={path}: {name!r} is there twice")
        weights[number] = _weight(path, name, value)
    missing = [name for name, weight in zip(names, weights, strict=True) if np.isnan(weight)]
    if missing:
        raise DataError(
            f"--class_weights={path}: no weight for {_listed(missing)}; "
            "give every class one, 1 if it is nothing special"
        )
    return weights


def _pairs_of_json(path: Path, text: str) -> list[tuple[str, object]]:
    try:
        # As pairs, so that a name that is there twice is seen.
        content = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise DataError(f"--class_weights={path}: not valid JSON: {error}") from error
    return content


def _pairs_of_csv(path: Path, text: str) -> list[tuple[str, object]]:
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    except csv.Error as error:
        raise DataError(f"--class_weights={path}: not valid CSV: {error}") from error
    if rows and [cell.lower() for cell in rows[0]] == ["class", "weight"]:
        del rows[0]
    for row in rows:
        if len(row) != 2:
            raise DataError(
                f"--class_weights={path}: {','.join(row)!r} is not a class and its weight: write "
                'lines like cat,2.5, or JSON like {"cat": 2.5}'
            )
    return [(name, value) for name, value in rows]


def _weight(path: Path, name: str, value: object) -> float:
    try:
        weight = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise DataError(
            f"--class_weights={path}: the weight of {name!r} is {value!r}; it must be a number, "
            "at least 0"
        )
    return weight


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
