"""The slim layers that the networks use: TF-Slim's own, and ours in place of those that fail here.

Batch norm, dropout and max pooling are ours, the convolution that makes the logits runs in float32,
and there is a depthwise convolution, which TF-Slim has only as part of another layer.

Importing this module makes it the `layers` of the networks in tf_slim.nets and gives each thread
arg scopes of its own, for the whole process. Doing so only during a call would not be safe, as a
MirroredStrategy traces towers in threads. Other users of TF-Slim keep its own layers.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from tf_slim.layers import layers as slim_layers
from tf_slim.nets import (
    alexnet,
    inception_v1,
    inception_v2,
    inception_v3,
    overfeat,
    resnet_utils,
    resnet_v1,
    resnet_v2,
    vgg,
)
from tf_slim.ops import arg_scope as slim_arg_scope
from tf_slim.ops.arg_scope import add_arg_scope

from models import forward_pass
from models.layers.batch_norm import BatchNormVariables, fused_batch_norm
from models.layers.depthwise_convolution import depthwise_convolution
from models.layers.dropout import layer_uniform, representable

LAYOUT = "NHWC"
# The scopes of the layer that makes the logits, in networks of tf_slim.nets that have one.
LOGITS_SCOPES = ("fc8", "logits")

# Any: arg scopes hide the parameters of a layer from type checkers.
_slim: Any = slim_layers
avg_pool2d = _slim.avg_pool2d
fully_connected = _slim.fully_connected
repeat = _slim.repeat
separable_conv2d = _slim.separable_conv2d
softmax = _slim.softmax


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
    """Normalizes inputs [B, H, W, C] with the fused kernel; slim.batch_norm fails on TF 2.21.

    Variables are slim's: <scope>/{beta, gamma, moving_mean, moving_variance}, float32, gamma only
    with `scale`. In training the new moving statistics are reported to the forward pass. With
    `synchronized`, mean and variance are those of all towers' batches together.
    """
    with tf.compat.v1.variable_scope(scope, "BatchNorm", [inputs]) as variable_scope:
        channels: Any = inputs.shape[-1]
        beta = _vector("beta", channels, 0.0)
        gamma = _vector("gamma", channels, 1.0) if scale else None
        moving_mean = _vector("moving_mean", channels, 0.0, trainable=False)
        moving_variance = _vector("moving_variance", channels, 1.0, trainable=False)
        variables = BatchNormVariables(gamma, beta, moving_mean, moving_variance)
        current = forward_pass.current()
        if current is None:
            raise RuntimeError("a slim network runs only as a Network: there is no forward pass")
        current.batch_norms[variable_scope.name] = epsilon
        is_frozen = is_training and forward_pass.is_frozen(moving_mean)
        is_training = is_training and not is_frozen
        outputs, mean, variance = fused_batch_norm(
            inputs,
            variables,
            training=is_training,
            epsilon=epsilon,
            layout=LAYOUT,
            synchronized=synchronized,
            frozen=is_frozen,
        )
        if is_training:
            current.average_in(moving_mean, mean, decay)
            current.average_in(moving_variance, variance, decay)
        return outputs if activation_fn is None else activation_fn(outputs)


def _vector(name: str, channels: int, value: float, trainable: bool = True) -> Any:
    return tf.compat.v1.get_variable(
        name,
        shape=[channels],
        dtype=tf.float32,
        initializer=tf.compat.v1.constant_initializer(value),
        trainable=trainable,
    )


@add_arg_scope
def conv2d(
    inputs: tf.Tensor, *arguments: Any, scope: str | None = None, **options: Any
) -> tf.Tensor:
    """Applies slim.conv2d to [B, H, W, C] in their dtype, or in float32 if `scope` makes logits."""
    if scope in LOGITS_SCOPES:
        inputs = tf.cast(inputs, tf.float32)
    return _slim.conv2d(inputs, *arguments, scope=scope, **options)


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
    """Convolves each channel with one filter, padded "SAME", without bias.

    The variable is slim's, `<scope>/depthwise_weights` [k, k, C, 1]; the kernel has fast bfloat16
    gradients (models/layers/depthwise_convolution.py).
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


@add_arg_scope
def dropout(
    inputs: tf.Tensor,
    keep_prob: float = 0.5,
    is_training: bool = True,
    scope: str | None = None,
) -> tf.Tensor:
    """Keeps each unit in training with probability `keep_prob`, divided by it, or zeroes it.

    Unlike slim.dropout's, the mask follows from the seed of the call.
    """
    if not is_training or keep_prob == 1.0:
        return inputs
    with tf.compat.v1.variable_scope(scope, "Dropout", [inputs]) as variable_scope:
        uniform = layer_uniform(variable_scope.name, tf.shape(inputs), None)
    keep_prob = representable(keep_prob, inputs.dtype)
    kept = inputs / tf.cast(keep_prob, inputs.dtype)
    return tf.where(uniform < keep_prob, kept, tf.zeros([], inputs.dtype))


@add_arg_scope
def max_pool2d(
    inputs: tf.Tensor,
    kernel_size: list[int],
    stride: int = 2,
    padding: str = "VALID",
    outputs_collections: str | None = None,
    scope: str | None = None,
) -> tf.Tensor:
    """Takes the maximum of windows of [B, H, W, C]; slim.max_pool2d fails outside a graph.

    The outputs are not added to `outputs_collections`.
    """
    return tf.nn.max_pool2d(inputs, kernel_size, stride, padding, name=scope)


def _arg_stack() -> list[dict[str, Any]]:
    """Returns this thread's open arg scopes, the innermost last; never empty.

    TF-Slim's own stack is one for the process. The threads that trace the towers take turns
    wherever towers exchange values, as synchronized batch norm does in the middle of a network: on
    one stack, a tower would continue with the scopes that another one left open.
    """
    stack = getattr(_thread, "stack", None)
    if not stack:
        stack = _thread.stack = [{}]
    return stack


_thread = threading.local()
slim_arg_scope._get_arg_stack = _arg_stack

for _network in (
    alexnet,
    inception_v1,
    inception_v2,
    inception_v3,
    overfeat,
    resnet_utils,
    resnet_v1,
    resnet_v2,
    vgg,
):
    for _name in ("layers", "layers_lib"):
        if hasattr(_network, _name):
            setattr(_network, _name, sys.modules[__name__])

# TF-Slim calls its layers in a way that TensorFlow deprecates; users cannot change that.
for _message in ("`layer.apply` is deprecated", "`layer.updates` will be removed"):
    warnings.filterwarnings("ignore", message=_message, category=UserWarning)
