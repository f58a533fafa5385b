"""A depthwise convolution as a slim layer, without the pointwise one of slim.separable_conv2d."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from tf_slim.ops.arg_scope import add_arg_scope

from models.layers.depthwise_convolution import depthwise_convolution


@add_arg_scope
def depthwise_conv2d(
    inputs: tf.Tensor,
    kernel_size: int,
    stride: int = 1,
    activation_fn: Callable[[tf.Tensor], tf.Tensor] | None = tf.nn.relu,
    normalizer_fn: Callable[..., tf.Tensor] | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = None,
    scope: str | None = None,
) -> tf.Tensor:
    """One filter a channel, `<scope>/depthwise_weights` [k, k, C, 1], padded "SAME", no bias.

    It is slim's variable, on a kernel whose bfloat16 gradients are fast
    (models/layers/depthwise_convolution.py).
    """
    with tf.compat.v1.variable_scope(scope, "DepthwiseConv2d", [inputs]):
        kernel = tf.compat.v1.get_variable(
            "depthwise_weights",
            shape=[kernel_size, kernel_size, inputs.shape[-1], 1],
            dtype=tf.float32,
            initializer=weights_initializer or tf.compat.v1.glorot_uniform_initializer(),
        )
        outputs = depthwise_convolution(
            inputs,
            tf.convert_to_tensor(kernel),
            strides=[1, stride, stride, 1],
            padding="SAME",
            layout="NHWC",
        )
        if normalizer_fn is not None:
            outputs = normalizer_fn(outputs, **(normalizer_params or {}))
        return outputs if activation_fn is None else activation_fn(outputs)
