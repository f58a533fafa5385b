"""Exponential moving average (EMA) of weights and of batch-norm statistics, as in TF1.

`tf.compat.v1.train.ExponentialMovingAverage(decay, num_updates=global_step)`, as the official
EfficientNet training code uses it: averages start as copies of the variables, trainable variables
and batch-norm moving statistics are averaged alike, and the decay is smaller early in training so
that the initial values are forgotten quickly.
"""

from __future__ import annotations

import tensorflow as tf


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
