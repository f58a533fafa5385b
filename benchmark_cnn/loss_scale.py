"""Dynamic loss scaling for float16, as pure functions of tensors (arXiv:1710.03740 section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


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
