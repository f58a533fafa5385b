"""Batch norm in the place of slim.batch_norm, which does not run on TensorFlow 2.21."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tf_slim.ops.arg_scope import add_arg_scope

from models import forward_pass
from models.layers.batch_norm_kernel import (
    normalize_with_batch_statistics,
    normalize_with_moving_statistics,
)

LAYOUT = "NHWC"


@add_arg_scope
def batch_norm(
    inputs: tf.Tensor,
    decay: float = 0.999,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Callable[[tf.Tensor], tf.Tensor] | None = None,
    is_training: bool = True,
    synchronized: bool = False,
    scope: str | None = None,
) -> tf.Tensor:
    """Normalises inputs [B, H, W, C] with the fused kernel; variables are float32.

    Variables as in slim: <scope>/{beta, gamma, moving_mean, moving_variance}, gamma only with
    `scale`. In training the new moving statistics are reported to the forward pass
    (models/forward_pass.py). With `synchronized`, mean and variance are those of all towers.
    """
    with tf.compat.v1.variable_scope(scope, "BatchNorm", [inputs]):
        channels: Any = inputs.shape[-1]
        beta = tf.convert_to_tensor(_vector("beta", channels, 0.0))
        gamma = tf.convert_to_tensor(_vector("gamma", channels, 1.0)) if scale else None
        moving_mean = _vector("moving_mean", channels, 0.0, trainable=False)
        moving_variance = _vector("moving_variance", channels, 1.0, trainable=False)
        gamma = tf.ones_like(beta) if gamma is None else gamma
        if is_training:
            outputs, mean, variance = normalize_with_batch_statistics(
                inputs,
                gamma,
                beta,
                moving_mean=tf.convert_to_tensor(moving_mean),
                epsilon=epsilon,
                layout=LAYOUT,
                synchronized=synchronized,
            )
            _report(moving_mean, mean, decay)
            _report(moving_variance, variance, decay)
        else:
            outputs = normalize_with_moving_statistics(
                inputs,
                gamma,
                beta,
                mean=tf.convert_to_tensor(moving_mean),
                variance=tf.convert_to_tensor(moving_variance),
                epsilon=epsilon,
                layout=LAYOUT,
            )
        return outputs if activation_fn is None else activation_fn(outputs)


def _vector(name: str, channels: int, value: float, trainable: bool = True) -> Any:
    return tf.compat.v1.get_variable(
        name,
        shape=[channels],
        dtype=tf.float32,
        initializer=tf.compat.v1.constant_initializer(value),
        trainable=trainable,
    )


def _report(statistic: Any, batch_value: tf.Tensor, decay: float) -> None:
    current = forward_pass.current()
    if current is None:
        raise RuntimeError("a slim network runs only as a Network: there is no forward pass")
    current.average_in(statistic, batch_value, decay)
