"""slim.conv2d, but that logits are computed in float32."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tf_slim.layers import layers as slim_layers
from tf_slim.ops.arg_scope import add_arg_scope

# What the networks of tf_slim.nets that make their own logits call that layer.
LOGITS_SCOPES = ("fc8", "logits")
_slim_conv2d: Any = slim_layers.conv2d


@add_arg_scope
def conv2d(
    inputs: tf.Tensor, *arguments: Any, scope: str | None = None, **options: Any
) -> tf.Tensor:
    """slim.conv2d of inputs [B, H, W, C], in their dtype; in float32 if `scope` makes logits."""
    if scope in LOGITS_SCOPES:
        inputs = tf.cast(inputs, tf.float32)
    return _slim_conv2d(inputs, *arguments, scope=scope, **options)
