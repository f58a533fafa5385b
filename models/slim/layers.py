"""The slim layers that the networks use: TF-Slim's own and some of ours.

Batch norm, dropout and max pooling are ours, the convolution that makes logits runs in float32,
and there is the depthwise convolution that TF-Slim lacks.

Importing this module puts it in the place of `layers` and `layers_lib` in the networks of
tf_slim.nets, once and for the whole process: to do so only during a call would not be safe, as the
towers of a MirroredStrategy are traced in threads. TF-Slim's other users keep its own layers. For
the same reason it gives every thread arg scopes of its own (models/slim/layers.py).

A stack of TF-Slim's arg scopes for each thread: its own is one for the process.

The towers of a MirroredStrategy are traced in threads that take turns wherever they exchange
something, as synchronized batch norm does in the middle of a network: on one stack a tower would
go on with the scopes that another has left open.

Batch norm in the place of slim.batch_norm, which does not run on TensorFlow 2.21.

slim.conv2d, but that logits are computed in float32.

A depthwise convolution as a slim layer, without the pointwise one of slim.separable_conv2d.

Dropout in the place of slim.dropout: its mask follows from the call's seed.

Max pooling in the place of slim.max_pool2d, which cannot name its outputs without a graph.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from tf_slim.layers import layers as _slim_layers
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
from tf_slim.ops import arg_scope as _arg_scope
from tf_slim.ops.arg_scope import add_arg_scope

from models import forward_pass
from models.layers.batch_norm import (
    normalize_with_batch_statistics,
    normalize_with_moving_statistics,
)
from models.layers.depthwise_convolution import depthwise_convolution
from models.layers.dropout import layer_uniform

_thread = threading.local()


def arg_stack() -> list[dict[str, Any]]:
    """The arg scopes that are open in this thread, the innermost last; never empty."""
    stack = getattr(_thread, "stack", None)
    if not stack:
        stack = _thread.stack = [{}]
    return stack


def give_every_thread_its_own() -> None:
    """Puts `arg_stack` in the place of TF-Slim's, for the whole process and all its users.

    Scopes that are open around `strategy.run` no longer reach into the towers.
    """
    _arg_scope._get_arg_stack = arg_stack


# Any: arg scopes hide what a layer takes and returns.
_slim: Any = _slim_layers
avg_pool2d = _slim.avg_pool2d
fully_connected = _slim.fully_connected
repeat = _slim.repeat
separable_conv2d = _slim.separable_conv2d
softmax = _slim.softmax

give_every_thread_its_own()

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

# TF-Slim calls its layers in a way that TensorFlow deprecates: nothing that a user could change.
for _message in ("`layer.apply` is deprecated", "`layer.updates` will be removed"):
    warnings.filterwarnings("ignore", message=_message, category=UserWarning)


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
    """Normalizes inputs [B, H, W, C] with the fused kernel; variables are float32.

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
