"""Batch normalization on TensorFlow's fused kernel (Ioffe and Szegedy, 2015)."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from models import forward_pass
from models.layers import SERIALIZATION_PACKAGE, target
from models.layers.layout import channel_axis, tensorflow_layout
from models.layers.sync_batch_norm import synchronized_batch_norm


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class FusedBatchNorm(keras.layers.Layer):
    """Normalizes inputs [B, H, W, C] or [B, C, H, W] of float32, bfloat16 or float16.

    Scale, offset and statistics are always float32. Keras 3's own layer does not use the fused
    kernel and trains EfficientNet-Lite0 at 6 tenths of the speed.

    Normalization divides by N, the number of values of a channel; the moving variance averages the
    batch variance divided by N - 1, as TF1's fused batch norm did. With `synchronized`, mean and
    variance are those of all towers' batches together (models/layers/sync_batch_norm.py).

    Inside a network call the new moving statistics are reported, not assigned
    (models/forward_pass.py); in plain Keras use the layer assigns them.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        *,
        scale: bool = True,
        gamma_initializer: Any = "ones",
        data_format: str = "channels_last",
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.scale = scale
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.data_format = data_format
        self.layout = tensorflow_layout(data_format)
        self.synchronized = synchronized
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[channel_axis(self.data_format)]

        def vector(name: str, initializer: Any, trainable: bool) -> keras.Variable:
            return self.add_weight(
                shape=(channels,),
                name=name,
                initializer=initializer,
                trainable=trainable,
                dtype="float32",
                autocast=False,
            )

        self.gamma = vector("gamma", self.gamma_initializer, True) if self.scale else None
        self.beta = vector("beta", "zeros", True)
        self.moving_mean = vector("moving_mean", "zeros", False)
        self.moving_variance = vector("moving_variance", "ones", False)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        # As in Keras, a frozen layer (trainable = False) normalizes with its moving statistics.
        is_training = training and self.trainable and not forward_pass.is_frozen(self.moving_mean)
        outputs, mean, variance = fused_batch_norm(
            inputs,
            self.variables_by_role(),
            training=is_training,
            epsilon=self.epsilon,
            layout=self.layout,
            synchronized=self.synchronized,
            frozen=training and not is_training,
        )
        if is_training:
            # Of an empty batch, which a replica of Keras' fit may get, the moments are NaN.
            is_empty = tf.equal(tf.shape(inputs)[0], 0)
            self._average_in(self.moving_mean, mean, is_empty)
            self._average_in(self.moving_variance, variance, is_empty)
        return outputs

    def variables_by_role(self) -> BatchNormVariables:
        """Returns gamma, beta and the moving statistics."""
        return BatchNormVariables(self.gamma, self.beta, self.moving_mean, self.moving_variance)

    def _average_in(
        self, statistic: keras.Variable, batch_value: tf.Tensor, is_empty: tf.Tensor
    ) -> None:
        current_pass = forward_pass.current()
        if current_pass is not None:
            current_pass.average_in(statistic, batch_value, self.momentum)
        else:
            old = tf.convert_to_tensor(statistic)
            new = old + (batch_value - old) * (1.0 - self.momentum)
            statistic.assign(tf.where(is_empty, old, new))

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "scale": self.scale,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "data_format": self.data_format,
            "synchronized": self.synchronized,
        }


class BatchNormVariables(NamedTuple):
    """The variables of one batch norm, float32 [C]; `gamma` None stands for ones."""

    gamma: Any
    beta: Any
    moving_mean: Any
    moving_variance: Any


def fused_batch_norm(
    inputs: tf.Tensor,
    variables: BatchNormVariables,
    *,
    training: bool,
    epsilon: float,
    layout: str,
    synchronized: bool,
    frozen: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalizes with the batch's moments in training, otherwise with the moving statistics.

    Where the convolution before does so (models/folding.py), only the offset is added.

    Args:
        inputs: [B, H, W, C] or, with layout "NCHW", [B, C, H, W].
        synchronized: normalize with the moments of all towers' batches together.
        frozen: whether gradients may be taken although it is not training.

    Returns:
        outputs: shape and dtype of the inputs.
        mean, variance: the moments that were used, float32 [C]; the batch variance is divided by
            N - 1 over the N values of a channel.
    """
    folded = None if training else forward_pass.offset_of(variables.beta)
    if folded is not None:
        outputs = tf.raw_ops.BiasAdd(value=inputs, bias=folded, data_format=layout)
        return outputs, variables.moving_mean, variables.moving_variance
    beta, mean, variance = map(tf.convert_to_tensor, variables[1:])
    gamma = tf.ones_like(beta) if variables.gamma is None else tf.convert_to_tensor(variables.gamma)
    if training and synchronized and _num_towers() > 1:
        return synchronized_batch_norm(
            inputs, gamma, beta, shift=mean, epsilon=epsilon, layout=layout
        )
    if frozen and target.is_gpu() and target.is_deterministic():
        scale = gamma * tf.math.rsqrt(variance + epsilon)
        return _scaled(inputs, scale, beta - mean * scale, layout), mean, variance
    values, shift = inputs, None
    if training:
        mean = variance = tf.zeros([0], tf.float32)  # the kernel does not use them
        if target.is_compiled():
            values, shift = _shifted(inputs, layout)
    outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=values,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        data_format=layout,
        is_training=training,
    )
    if shift is not None:
        outputs, batch_mean = tf.cast(outputs, inputs.dtype), batch_mean + shift
    return outputs, batch_mean, batch_variance


def _shifted(inputs: tf.Tensor, layout: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the inputs of XLA's kernel, float32 near zero, and what was subtracted, [C].

    XLA's variance is E[x^2] - E[x]^2. That cancels: where the mean is 10 times the deviation the
    variance was wrong by 1e-3, and for a large constant it can be negative, which is NaN. Relative
    to the mean of the batch's first image the mean is small; XLA subtracts it within the loops
    that it has anyway.
    """
    axes = [axis for axis, name in enumerate(layout) if name != "C"]
    values = tf.cast(inputs, tf.float32)
    shift = tf.stop_gradient(tf.reduce_mean(values[:1], axes, keepdims=True))
    return values - shift, tf.reshape(shift, [-1])


def _scaled(inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, layout: str) -> tf.Tensor:
    """Returns inputs * scale + offset, computed in float32.

    The gradient of the fused kernel with given moments is not deterministic on GPUs.
    """
    shape = [-1 if name == "C" else 1 for name in layout]
    scale, offset = tf.reshape(scale, shape), tf.reshape(offset, shape)
    return tf.cast(tf.cast(inputs, tf.float32) * scale + offset, inputs.dtype)


def _num_towers() -> int:
    replica_context = tf.distribute.get_replica_context()
    return 1 if replica_context is None else replica_context.num_replicas_in_sync
