"""Everything a step changes, and its names in a checkpoint.

Exponential moving average (EMA) of weights and of batch-norm statistics, as in TF1.

`tf.compat.v1.train.ExponentialMovingAverage(decay, num_updates=global_step)`, as the official
EfficientNet training code uses it: averages start as copies of the variables, trainable variables
and batch-norm moving statistics are averaged alike, and the decay is smaller early in training so
that the initial values are forgotten quickly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from benchmark_cnn.distribution.variable_mgr import VariableManager
from checkpoints.tensor_roles import MOVING_AVERAGE

SKIPPED_IN_A_ROW = "skipped_steps/in_a_row"
LOSS_SCALE, GOOD_STEPS = "loss_scale", "loss_scale/good_steps"
# Not in the checkpoints of earlier versions, or of runs in another precision; a run that resumes
# from those starts with its initial values.
OPTIONAL = frozenset((SKIPPED_IN_A_ROW, LOSS_SCALE, GOOD_STEPS))


@dataclasses.dataclass(frozen=True)
class TrainState:
    """Weights and moving statistics (the network's), slots, averages, and the counters.

    slots: checkpoint name of a weight -> slot name -> variable beside it.
    averages: checkpoint name -> average beside it; empty without a moving average.
    global_step: int64, batches consumed. skipped_steps: those of them that changed nothing.
    skipped_in_a_row: int64, how many of those were the last ones.
    examples_seen: int64, the position in the data, also when the batch size changes on resume.
    loss_scale, good_steps: of dynamic loss scaling; without it constant, and not saved.
    scales_loss: whether there is dynamic loss scaling.
    """

    manager: VariableManager
    variables: Mapping[str, tf.Variable]
    slots: Mapping[str, Mapping[str, tf.Variable]]
    averages: Mapping[str, tf.Variable]
    global_step: tf.Variable
    skipped_steps: tf.Variable
    skipped_in_a_row: tf.Variable
    examples_seen: tf.Variable
    loss_scale: tf.Variable
    good_steps: tf.Variable
    scales_loss: bool

    def named_variables(self) -> dict[str, tf.Variable]:
        """Checkpoint name -> variable, of everything that a resumed run needs."""
        named = dict(self.variables)
        for name, slots in self.slots.items():
            named |= {f"{name}/{slot}": variable for slot, variable in slots.items()}
        named |= {f"{name}/{MOVING_AVERAGE}": average for name, average in self.averages.items()}
        if self.scales_loss:
            named |= {LOSS_SCALE: self.loss_scale, GOOD_STEPS: self.good_steps}
        return named | {
            "global_step": self.global_step,
            "skipped_steps": self.skipped_steps,
            SKIPPED_IN_A_ROW: self.skipped_in_a_row,
            "examples_seen": self.examples_seen,
        }

    def tensors(self) -> dict[str, tf.Tensor]:
        """Checkpoint name -> value to save."""
        return {name: self.manager.read(v) for name, v in self.named_variables().items()}

    def non_finite_weights(self) -> list[str]:
        """Checkpoint names of the weights and moving statistics that hold a NaN or an infinity."""
        return [
            name
            for name, variable in self.variables.items()
            if not tf.reduce_all(tf.math.is_finite(self.manager.read(variable)))
        ]

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        """Assign `values` (checkpoint name -> array) to every copy of every variable named."""
        named = self.named_variables()
        for name, value in values.items():
            named[name].assign(value)

    def start_averages(self) -> None:
        """Let every average begin at the present value of what it follows."""
        for name, average in self.averages.items():
            average.assign(self.manager.read(self.variables[name]))

    def swap_averages(self) -> None:
        """Exchange weights and averages in place: evaluate, then call again. Exact, no memory."""
        for name, average in self.averages.items():
            self.manager.update(self.variables[name], _swap, (average,))


def _swap(variable, average):
    value = tf.identity(variable)
    return tf.group(variable.assign(average), average.assign(value))


def create(
    manager: VariableManager,
    network,
    *,
    slot_values: Mapping[str, float],
    with_averages: bool,
    initial_loss_scale: float | None = None,
) -> TrainState:
    """The state of a fresh run of `network`, whose variables exist already.

    Averages start at the weights they follow, as tf.train.ExponentialMovingAverage does.

    Args:
      initial_loss_scale: where dynamic loss scaling starts; None where there is none.
    """
    slots = {
        name: {
            slot: manager.create_beside(
                network.variables[name],
                lambda v=network.variables[name], fill=fill: tf.fill(
                    v.shape, tf.cast(fill, v.dtype)
                ),
                f"{name}/{slot}",
            )
            for slot, fill in slot_values.items()
        }
        for name in network.trainable
    }
    averages = {}
    if with_averages:
        averages = {
            name: manager.create_beside(
                variable, manager.read(variable), f"{name}/{MOVING_AVERAGE}"
            )
            for name, variable in network.variables.items()
        }
    with tf.device("/device:CPU:0"):
        return TrainState(
            manager,
            network.variables,
            slots,
            averages,
            global_step=_counter("global_step"),
            skipped_steps=_counter("skipped_steps"),
            skipped_in_a_row=_counter("skipped_in_a_row"),
            examples_seen=_counter("examples_seen"),
            loss_scale=tf.Variable(
                tf.constant(1.0 if initial_loss_scale is None else initial_loss_scale),
                trainable=False,
                dtype=tf.float32,
                name="loss_scale",
            ),
            good_steps=_counter("good_steps"),
            scales_loss=initial_loss_scale is not None,
        )


def _counter(name: str) -> tf.Variable:
    return tf.Variable(tf.zeros([], tf.int64), trainable=False, name=name)


def decay_at(num_updates: tf.Tensor | int, decay: float) -> tf.Tensor:
    """`min(decay, (1 + num_updates) / (10 + num_updates))`.

    Args:
      num_updates: how many updates of the weights are finished, the one just made included: 1 after
        the first. The official code applies its averages under a control dependency on the train
        op, which has by then added one to the global step it reads.
      decay: the ceiling, such as 0.9999.

    Returns:
      A float32 scalar; `1 - decay` is taken from it in float32, as TF1 does.
    """
    num_updates = tf.cast(num_updates, tf.float32)
    return tf.minimum(tf.constant(decay, tf.float32), (1.0 + num_updates) / (10.0 + num_updates))


def update(average: tf.Variable, value: tf.Tensor | tf.Variable, decay: tf.Tensor) -> tf.Operation:
    """`average -= (1 - decay) * (average - value)`: one subtraction and one fused update.

    Args:
      average: a float32 resource variable on one device.
      value: float32, the shape of `average`, read after the optimizer's update.
      decay: float32 scalar, from `decay_at`.
    """
    return tf.raw_ops.ResourceApplyGradientDescent(
        var=average.handle,
        alpha=1.0 - decay,
        delta=tf.subtract(average, value),
    )
