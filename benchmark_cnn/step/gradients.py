"""From the towers' gradients to the one that is applied: aggregate, unscale, check, clip.

The order is the point. Clipping or checking before the towers have met gives results that depend
on how the batch was divided: two towers with gradients [3, 0] and [0, 4], clipped to norm 1 each
and then summed, give [1, 1]; the sum clipped to norm 1 is [0.6, 0.8].

Dynamic loss scaling for float16, as pure functions of tensors (arXiv:1710.03740 section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.step.tower import TowerResult


def aggregate(manager: VariableManager, result: TowerResult) -> TowerResult:
    """Mean of everything the towers computed. Called inside a tower.

    The moving statistics and the scalars are many and small: they travel as one buffer.
    """
    small = [*result.statistics, result.scalars]
    buffer = tf.concat([tf.reshape(tensor, [-1]) for tensor in small], 0)
    *gradients, buffer = manager.aggregate([*result.gradients, buffer])
    parts = tf.split(buffer, [tensor.shape.num_elements() for tensor in small])
    *statistics, scalars = [
        tf.reshape(part, tensor.shape) for part, tensor in zip(parts, small, strict=True)
    ]
    return TowerResult(gradients, statistics, scalars)


def unscale(gradients: Sequence[tf.Tensor], loss_scale) -> list[tf.Tensor]:
    """Divide the loss scale out, in float32 (the gradients of float32 variables already are)."""
    if loss_scale is None:
        return list(gradients)
    return [gradient / loss_scale for gradient in gradients]


def add_weight_decay(
    gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], weight_decays: Sequence[float]
) -> list[tf.Tensor]:
    """Add the gradient of 0.5 * decay * |v|^2 of each variable: once, whatever the towers."""
    return [
        gradient + decay * variable if decay else gradient
        for gradient, variable, decay in zip(gradients, variables, weight_decays, strict=True)
    ]


def global_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Euclidean norm over all gradients together; not finite if any element is not."""
    return tf.linalg.global_norm(gradients)


def clip(
    gradients: Sequence[tf.Tensor], *, limit: float | None, mode: str, norm
) -> list[tf.Tensor]:
    """`norm`: scale all so that their global norm is at most `limit`; `value`: each element.

    Gradients whose norm is not finite come out as NaN, all of them: a limit would make an infinite
    one look sound.
    """
    if limit is None:
        return list(gradients)
    factor = tf.where(tf.math.is_finite(norm), 1.0, float("nan"))
    if mode == "value":
        return [tf.clip_by_value(gradient, -limit, limit) * factor for gradient in gradients]
    factor *= limit / tf.maximum(norm, limit)
    return [gradient * factor for gradient in gradients]


class LossScale(NamedTuple):
    """`scale`, a float32 scalar, and `good_steps`, int64, finite steps since it last changed."""

    scale: tf.Tensor
    good_steps: tf.Tensor


def next_scale(
    scale: tf.Tensor | float,
    good_steps: tf.Tensor | int,
    finite: tf.Tensor | bool,
    *,
    increase_every: int,
    minimum: float = 1.0,
    maximum: float = 2.0**24,
) -> LossScale:
    """The loss scale after a step.

    A step with a non-finite gradient on any tower halves the scale; a finite one is counted; a
    finite one that finds `increase_every` already counted doubles the scale, as in
    tf_cnn_benchmarks (so doubling takes increase_every + 1 finite steps). Every change starts the
    count again at zero. Scales are powers of two: scaling and unscaling then round nothing.

    Args:
      scale: float32 scalar the step used.
      good_steps: int64 scalar, finite steps counted before this one.
      finite: bool scalar: all gradients of all towers were finite.
      increase_every: `--fp16_inc_loss_scale_every_n`.
      minimum, maximum: bounds. float16 ends at 65504, so scales near the upper bound are of use
        only to losses that are very small.

    Returns:
      The state for the next step.
    """
    scale = tf.convert_to_tensor(scale, tf.float32)
    good_steps = tf.convert_to_tensor(good_steps, tf.int64)
    finite = tf.convert_to_tensor(finite, tf.bool)
    increase = tf.logical_and(finite, good_steps >= increase_every)
    factor = tf.where(increase, 2.0, tf.where(finite, 1.0, 0.5))
    counted = tf.where(
        tf.logical_and(finite, tf.logical_not(increase)), good_steps + 1, tf.zeros_like(good_steps)
    )
    return LossScale(tf.clip_by_value(scale * factor, minimum, maximum), counted)
