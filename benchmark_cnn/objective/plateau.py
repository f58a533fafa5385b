"""`--learning_rate_schedule=plateau`: a lower rate when evaluations have stopped getting better."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import tensorflow as tf

from benchmark_cnn.objective.early_stopping import comparable
from benchmark_cnn.params.training_params import LearningRateParams

# Names in checkpoints.
BEST, SINCE, SCALE = "plateau_best", "plateau_since", "plateau_scale"


@dataclasses.dataclass(frozen=True)
class Plateau:
    """What the schedule has seen. A checkpoint holds it as it was before its own evaluation.

    Attributes:
        best: float64 [2], the best evaluation so far as `comparable` orders it; -1 before any.
        since: int64, the step of the best evaluation or of the last reduction.
        scale: float64, the product of the factors of all reductions. A resumed run may have
            another factor for those to come.
    """

    best: tf.Variable
    since: tf.Variable
    scale: tf.Variable

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns checkpoint name -> variable."""
        return {BEST: self.best, SINCE: self.since, SCALE: self.scale}

    def observe(
        self,
        step: int,
        result: Mapping[str, Any],
        flags: LearningRateParams,
        *,
        patience: Fraction,
        initial: float,
    ) -> str | None:
        """Takes an evaluation; returns the line of a reduction, None if the rate is kept.

        The rule is that of early stopping: an evaluation is better if its checkpoint would be kept
        as the best one, and a distance of less than one step counts as none.

        Args:
            patience: steps without a better evaluation that are not yet too many.
            initial: the rate without any reduction.
        """
        # A checkpoint holds finite numbers.
        value = np.nan_to_num(comparable(result))
        if tuple(value) > tuple(self.best.numpy()):
            self.best.assign(value)
            self.since.assign(step)
            return None
        if step - int(self.since) <= patience - 1:
            return None
        self.since.assign(step)
        minimum, factor = flags.minimum_learning_rate, flags.learning_rate_decay_factor or 1.0
        if initial * float(self.scale) <= minimum:
            return None
        self.scale.assign(float(self.scale) * factor)
        change = f"multiplied by {factor:g}"
        if initial * float(self.scale) <= minimum:
            change = f"lowered to its minimum, {minimum:g},"
        return (
            f"Learning rate {change} after step {step}: no better evaluation in "
            f"{flags.learning_rate_patience_epochs:g} epochs"
        )


def create() -> Plateau:
    """Creates the state of a new run."""
    return Plateau(
        tf.Variable(tf.constant([-1.0, 0.0], tf.float64), trainable=False, name=BEST),
        tf.Variable(tf.zeros([], tf.int64), trainable=False, name=SINCE),
        tf.Variable(tf.ones([], tf.float64), trainable=False, name=SCALE),
    )
