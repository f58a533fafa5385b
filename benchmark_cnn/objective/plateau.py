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
BEST, SINCE, REDUCTIONS = "plateau_best", "plateau_since", "plateau_reductions"


@dataclasses.dataclass(frozen=True)
class Plateau:
    """What the schedule has seen. A checkpoint holds it as it was before its own evaluation.

    Attributes:
        best: float64 [2], the best evaluation so far as `comparable` orders it; -1 before any.
        since: int64, the step of the best evaluation or of the last reduction.
        reductions: int64, how often the rate was reduced.
    """

    best: tf.Variable
    since: tf.Variable
    reductions: tf.Variable

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns checkpoint name -> variable."""
        return {BEST: self.best, SINCE: self.since, REDUCTIONS: self.reductions}

    def observe(
        self, step: int, result: Mapping[str, Any], flags: LearningRateParams, patience: Fraction
    ) -> str | None:
        """Takes an evaluation; returns the line of a reduction, None if the rate is kept.

        The rule is that of early stopping: an evaluation is better if its checkpoint would be kept
        as the best one, and a distance of less than one step counts as none.

        Args:
            patience: steps without a better evaluation that are not yet too many.
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
        self.reductions.assign_add(1)
        return (
            f"Learning rate multiplied by {flags.learning_rate_decay_factor:g} after step {step}: "
            f"no better evaluation in {flags.learning_rate_patience_epochs:g} epochs"
        )


def create() -> Plateau:
    """Creates the state of a new run."""
    return Plateau(
        tf.Variable(tf.constant([-1.0, 0.0], tf.float64), trainable=False, name=BEST),
        tf.Variable(tf.zeros([], tf.int64), trainable=False, name=SINCE),
        tf.Variable(tf.zeros([], tf.int64), trainable=False, name=REDUCTIONS),
    )
