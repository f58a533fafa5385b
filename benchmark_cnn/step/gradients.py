"""From the towers' gradients to the applied one: aggregate, unscale, decay, clip, next loss scale.

The order matters. Clipping before aggregation gives results that depend on how the batch was
divided: two towers with gradients [3, 0] and [0, 4], clipped to norm 1 each and then summed, give
[1, 1]; the sum clipped to norm 1 is [0.6, 0.8].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.step.tower import TowerResult


def aggregate(manager: VariableManager, result: TowerResult) -> TowerResult:
    """Averages the towers' results. Called inside a tower.

    The moving statistics and the scalars are many and small: one buffer carries them all.
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
    """Divides by the loss scale, in float32, which gradients of float32 variables already are."""
    if loss_scale is None:
        return list(gradients)
    return [gradient / loss_scale for gradient in gradients]


def add_weight_decay(
    gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], weight_decays: Sequence[float]
) -> list[tf.Tensor]:
    """Adds the gradient of 0.5 * decay * |v|^2, once, however many towers there are."""
    return [
        gradient + decay * variable if decay else gradient
        for gradient, variable, decay in zip(gradients, variables, weight_decays, strict=True)
    ]


def global_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the Euclidean norm of all gradients; it is not finite if any element is not."""
    return tf.linalg.global_norm(gradients)


def clip(
    gradients: Sequence[tf.Tensor], *, limit: float | None, mode: str, norm
) -> list[tf.Tensor]:
    """Clips the global norm (mode "norm") or each element (mode "value") to `limit`.

    If the norm is not finite, all gradients become NaN: clipping would hide an infinite element.
    """
    if limit is None:
        return list(gradients)
    factor = tf.where(tf.math.is_finite(norm), 1.0, float("nan"))
    if mode == "value":
        return [tf.clip_by_value(gradient, -limit, limit) * factor for gradient in gradients]
    factor *= limit / tf.maximum(norm, limit)
    return [gradient * factor for gradient in gradients]


class LossScale(NamedTuple):
    """`scale`, float32, and `good_steps`, int64: finite steps since the scale last changed."""

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
    """Returns the dynamic loss scale of the next step (arXiv:1710.03740 section 3.2).

    A step with a non-finite gradient halves the scale. A finite step is counted, unless
    `increase_every` are counted already: then it doubles the scale, as in tf_cnn_benchmarks (so
    doubling takes increase_every + 1 finite steps). Every change resets the count. Scales are
    powers of two, so scaling and unscaling do not round.

    Args:
        scale: float32 scalar that the step used.
        good_steps: int64 scalar, finite steps counted before this one.
        finite: bool scalar, whether all gradients of all towers were finite.
        increase_every: `--fp16_inc_loss_scale_every_n`.
        minimum, maximum: bounds. float16 ends at 65504, so scales near the upper bound help only
            very small losses.
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
