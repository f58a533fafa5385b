"""Dropout in the place of slim.dropout: its mask follows from the call's seed."""

from __future__ import annotations

import tensorflow as tf
from tf_slim.ops.arg_scope import add_arg_scope

from models.layers.layer_random import layer_uniform


@add_arg_scope
def dropout(
    inputs: tf.Tensor,
    keep_prob: float = 0.5,
    is_training: bool = True,
    scope: str | None = None,
) -> tf.Tensor:
    """Keeps each unit with probability `keep_prob`, divided by it, and zeroes the others.

    Without `is_training` it is the identity.
    """
    if not is_training or keep_prob == 1.0:
        return inputs
    with tf.compat.v1.variable_scope(scope, "Dropout", [inputs]) as variable_scope:
        uniform = layer_uniform(variable_scope.name, tf.shape(inputs), None)
    kept = inputs / tf.cast(keep_prob, inputs.dtype)
    return tf.where(uniform < keep_prob, kept, tf.zeros([], inputs.dtype))
