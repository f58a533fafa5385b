"""From the towers' gradients to the one that is applied: aggregate, unscale, check, clip.

The order is the point. Clipping or checking before the towers have met gives results that depend
on how the batch was divided: two towers with gradients [3, 0] and [0, 4], clipped to norm 1 each
and then summed, give [1, 1]; the sum clipped to norm 1 is [0.6, 0.8].
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from benchmark_cnn.tower import TowerResult
from benchmark_cnn.variable_mgr import VariableManager


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
