"""`--early_stopping_epochs`: whether the evaluations of a training have stopped getting better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from checkpoints.best import order

Evaluations = Sequence[tuple[int, Mapping[str, Any]]]
"""(global step, result) of each evaluation, in the order of the steps."""


def reason_to_stop(
    evaluations: Evaluations, epochs: float | None, steps_per: Callable[[float], Fraction]
) -> str | None:
    """Returns the line of a training that stops now; None if it goes on.

    An evaluation is better if its checkpoint would be kept as the best one: a higher top-1 (or mean
    average precision), or the same and a lower loss. An epoch need not end with a step, so that a
    distance of less than one step counts as none.

    Args:
        epochs: how many may pass without a better evaluation; None for any number.
        steps_per: the steps of so many epochs.
    """
    if epochs is None or not evaluations:
        return None
    last, _ = evaluations[-1]
    best, result = evaluations[0]
    for step, other in evaluations[1:]:
        if comparable(other) > comparable(result):
            best, result = step, other
    if last - best <= steps_per(epochs) - 1:
        return None
    name = "mean_average_precision" if "mean_average_precision" in result else "top_1"
    words = {"top_1": "top-1", "mean_average_precision": "mean average precision"}[name]
    return (
        f"Stopped early at step {last}: in {epochs:g} epochs nothing was better than step {best} "
        f"with {words} {result[name]:.2%}"
    )


def comparable(result: Mapping[str, Any]) -> tuple[float, float]:
    """Returns what is higher for a better evaluation; NaN is the worst."""
    return tuple(-math.inf if math.isnan(part) else part for part in order(result))  # type: ignore[return-value]
