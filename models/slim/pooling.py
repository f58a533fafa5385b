"""Max pooling in the place of slim.max_pool2d, which cannot name its outputs without a graph."""

from __future__ import annotations

import tensorflow as tf
from tf_slim.ops.arg_scope import add_arg_scope


@add_arg_scope
def max_pool2d(
    inputs: tf.Tensor,
    kernel_size: list[int],
    stride: int = 2,
    padding: str = "VALID",
    outputs_collections: str | None = None,
    scope: str | None = None,
) -> tf.Tensor:
    """Largest values of windows of inputs [B, H, W, C]; nothing is put into collections."""
    return tf.nn.max_pool2d(inputs, kernel_size, stride, padding, name=scope)
