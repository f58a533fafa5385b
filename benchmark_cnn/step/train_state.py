"""Everything a step changes, with its names in a checkpoint, and the update of moving averages.

The averages of weights and batch-norm statistics are those of
`tf.compat.v1.train.ExponentialMovingAverage(decay, num_updates=global_step)`, as the official
EfficientNet training code uses it: they start as copies of the variables, and the decay is smaller
early in training so that the initial values are forgotten quickly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.objective import plateau as plateaus
from checkpoints.tensor_roles import MOVING_AVERAGE

SKIPPED_IN_A_ROW = "skipped_steps/in_a_row"
LOSS_SCALE, GOOD_STEPS = "loss_scale", "loss_scale/good_steps"
# Checkpoints of earlier versions, other precisions and other schedules lack these; a run that
# resumes from such a checkpoint keeps their initial values.
OPTIONAL = frozenset(
    (
        SKIPPED_IN_A_ROW, LOSS_SCALE, GOOD_STEPS,
        plateaus.BEST, plateaus.SINCE, plateaus.SCALE,
    )
)  # fmt: skip


class Progress(NamedTuple):
    """How far a run is before a step: int64 scalar tensors.

    Attributes:
        steps: those made so far.
        updates: those of them that were not skipped.
    """

    steps: tf.Tensor
    updates: tf.Tensor

    def updates_since(self, begin: int) -> tf.Tensor:
        """Returns the updates since the step `begin`, if no step was skipped after it.

        If some were, it is at least the number of those updates: which steps were skipped is not
        known.
        """
        return tf.minimum(self.updates, self.steps - begin) if begin else self.updates


@dataclasses.dataclass(frozen=True)
class TrainState:
    """Weights and moving statistics (the network's), slots, averages, and counters (int64).

    Attributes:
        slots: checkpoint name of a weight -> slot name -> variable on the same device.
        averages: checkpoint name -> average; empty without a moving average. A variable that is
            never trained has neither slots nor an average.
        global_step: steps run, including skipped ones.
        skipped_steps: steps whose update was skipped because a gradient was not finite.
        skipped_in_a_row: skipped steps since the last update.
        examples_seen: position in the data, also when the batch size changes on resume.
        loss_scale, good_steps: see gradients.next_scale; constant and not saved without scaling.
        scales_loss: whether the loss is scaled.
        plateau: what the plateau schedule has seen; None with another schedule.
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
    plateau: plateaus.Plateau | None = None

    def progress(self, step: tf.Tensor) -> Progress:
        """Returns how far the run is after `step` steps (int64), which are all so far."""
        return Progress(step, step - self.skipped_steps.read_value())

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns checkpoint name -> variable for everything that a resumed run needs."""
        named = dict(self.variables)
        for name, slots in self.slots.items():
            named |= {f"{name}/{slot}": variable for slot, variable in slots.items()}
        named |= {f"{name}/{MOVING_AVERAGE}": average for name, average in self.averages.items()}
        if self.scales_loss:
            named |= {LOSS_SCALE: self.loss_scale, GOOD_STEPS: self.good_steps}
        if self.plateau is not None:
            named |= self.plateau.named_variables()
        return named | {
            "global_step": self.global_step,
            "skipped_steps": self.skipped_steps,
            SKIPPED_IN_A_ROW: self.skipped_in_a_row,
            "examples_seen": self.examples_seen,
        }

    def tensors(self) -> dict[str, tf.Tensor]:
        """Returns checkpoint name -> value to save."""
        return {name: self.manager.read(v) for name, v in self.named_variables().items()}

    def host_values(self) -> dict[str, np.ndarray]:
        """Returns copies of `tensors` in the host's memory, which later steps do not change."""
        return {name: tensor.numpy() for name, tensor in self.tensors().items()}

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        """Assigns `values` (checkpoint name -> array) to every copy of the named variables."""
        named = self.named_variables()
        for name, value in values.items():
            named[name].assign(value)

    def take_from_chief(self) -> None:
        """Assigns the chief's values on every worker, which may have read no checkpoint."""
        if self.manager.worker[1] == 1:
            return
        named = self.named_variables()
        dtypes = sorted({variable.dtype for variable in named.values()}, key=lambda d: d.name)
        for dtype in dtypes:
            group = [variable for variable in named.values() if variable.dtype == dtype]
            values = [self.manager.read(variable) for variable in group]
            buffer = tf.concat([tf.reshape(value, [-1]) for value in values], 0)
            if self.manager.worker[0]:
                buffer = tf.zeros_like(buffer)
            (buffer,) = self.manager.sum_over_workers([buffer])
            parts = tf.split(buffer, [variable.shape.num_elements() for variable in group])
            for variable, part in zip(group, parts, strict=True):
                variable.assign(tf.reshape(part, variable.shape))

    def start_averages(self) -> None:
        """Sets every average to the current value of its variable."""
        for name, average in self.averages.items():
            average.assign(self.manager.read(self.variables[name]))

    def swap_averages(self) -> None:
        """Exchanges weights and averages in place, exactly; evaluate, then call it again."""
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
    never_trained: Collection[str] = (),
    initial_loss_scale: float | None = None,
    follows_evaluations: bool = False,
) -> TrainState:
    """Creates the state of a new run of `network`, whose variables exist already.

    Args:
        slot_values: name of each slot -> the value it is filled with.
        never_trained: checkpoint names of the variables that get neither slots nor averages.
        initial_loss_scale: start of dynamic loss scaling; None for no scaling.
        follows_evaluations: whether the learning rate does (the plateau schedule).
    """
    slots = {
        name: {
            slot: manager.create_colocated(
                network.variables[name],
                lambda v=network.variables[name], fill=fill: tf.fill(
                    v.shape, tf.cast(fill, v.dtype)
                ),
                f"{name}/{slot}",
            )
            for slot, fill in slot_values.items()
        }
        for name in network.trainable
        if name not in never_trained
    }
    averages = {}
    if with_averages:
        averages = {
            name: manager.create_colocated(
                variable, manager.read(variable), f"{name}/{MOVING_AVERAGE}"
            )
            for name, variable in network.variables.items()
            if name not in never_trained
        }
    with manager.counters():
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
            plateau=plateaus.create() if follows_evaluations else None,
        )


def _counter(name: str) -> tf.Variable:
    return tf.Variable(tf.zeros([], tf.int64), trainable=False, name=name)


def decay_at(num_updates: tf.Tensor | int, decay: float) -> tf.Tensor:
    """Returns `min(decay, (1 + num_updates) / (10 + num_updates))` as a float32 scalar.

    Args:
        num_updates: finished updates of the weights, including the current one: 1 after the
            first. (The official code applies its averages under a control dependency on the train
            op, which has added one to the global step by then.)
        decay: the ceiling, such as 0.9999.
    """
    num_updates = tf.cast(num_updates, tf.float32)
    return tf.minimum(tf.constant(decay, tf.float32), (1.0 + num_updates) / (10.0 + num_updates))


def update(average: tf.Variable, value: tf.Tensor | tf.Variable, decay: tf.Tensor) -> tf.Operation:
    """Applies `average -= (1 - decay) * (average - value)`: a subtraction and a fused update.

    Args:
        average: float32 resource variable on one device.
        value: float32, the shape of `average`, read after the optimizer's update.
        decay: float32 scalar, from `decay_at`; `1 - decay` is computed in float32, as in TF1.
    """
    return tf.raw_ops.ResourceApplyGradientDescent(
        var=average.handle,
        alpha=1.0 - decay,
        delta=tf.subtract(average, value),
        use_locking=True,
    )
