"""Fake quantization: values that 8 bits can hold, in float32, with gradients as if not rounded.

The grids are those of TFLite's full-integer files: kernels are symmetric with a scale for each
output channel, activations asymmetric with one scale for a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from checkpoints.tensor_roles import RANGE
from models import forward_pass
from models.layers import SERIALIZATION_PACKAGE

PIXELS = (0.0, 255.0)
MOMENTUM = 0.99
# Of the mean over images. It is close to the largest value of a batch of ordinary size, and unlike
# that it is the same for any division of a batch among towers.
POWER = 8
# A kernel or an activation that is zero everywhere has some scale all the same.
_SMALLEST = 1e-12
_BEYOND_ALL = 1e30


def rounded_kernel(kernel: tf.Tensor, is_depthwise: bool = False) -> tf.Tensor:
    """Rounds each output channel of a kernel to multiples of its largest magnitude / 127.

    The scale of a channel is that of the kernel which batch norm is folded into, divided by batch
    norm's factor: rounding first and folding then is the same. No weight is beyond the range, so
    that the gradient passes unchanged.

    Args:
        kernel: float32 [..., C], or of a depthwise convolution [k, k, inputs, C / inputs].
    """

    @tf.custom_gradient
    def straight_through(kernel: tf.Tensor) -> Any:
        channels: Any = kernel.shape[-2:] if is_depthwise else kernel.shape[-1:]
        flat = tf.reshape(kernel, [-1, math.prod(channels)])
        largest = tf.maximum(tf.reduce_max(tf.abs(flat), axis=0), _SMALLEST)
        rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            flat, -largest, largest, narrow_range=True
        )
        return tf.reshape(rounded, kernel.shape), lambda upstream: upstream

    return straight_through(kernel)


def bounds(moments: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the smallest and the largest value of an activation, before they are moved to a grid.

    Args:
        moments: float32 [2], means of the POWER-th powers of the images' extremes.
    """
    lower, upper = tf.unstack(tf.sqrt(tf.sqrt(tf.sqrt(moments))))
    return -lower, tf.maximum(upper, _SMALLEST)


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class ActivationQuantization(keras.layers.Layer):
    """Rounds activations, float32 [B, ...], to one of 256 values in a range that training tracks.

    The range is [-a, b]; a and b are the 8th roots of moving averages over steps of the mean over
    images of m^8, m the largest magnitude of an image's values below or above zero. A step rounds
    to the range of the steps before it, the first step not at all. So each step has the same
    result on any number of towers.

    Where values are cut the gradient is zero, elsewhere it passes (TensorFlow's own operation).

    Args:
        non_negative: whether the inputs are those of a ReLU.
    """

    def __init__(self, non_negative: bool = False, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.non_negative = non_negative

    def build(self, input_shape: Any) -> None:
        self.moments = self.add_weight(
            shape=(2,), name=RANGE, initializer="zeros", trainable=False, autocast=False
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        moments = tf.convert_to_tensor(self.moments)
        if not training:
            return tf.quantization.fake_quant_with_min_max_vars(inputs, *bounds(moments))
        is_known = tf.reduce_any(moments > 0.0)
        current_pass = forward_pass.current()
        if current_pass is not None:
            momentum: Any = tf.where(is_known, MOMENTUM, 0.0)
            current_pass.average_in(self.moments, self._moments_of(inputs), momentum)
        return _rounded_if(is_known, inputs, *bounds(moments))

    def _moments_of(self, inputs: tf.Tensor) -> tf.Tensor:
        inputs = tf.stop_gradient(inputs)
        axes = list(range(1, len(inputs.shape)))
        upper = tf.maximum(tf.reduce_max(inputs, axes), 0.0)
        lower = tf.zeros_like(upper)
        if not self.non_negative:
            lower = tf.maximum(-tf.reduce_min(inputs, axes), 0.0)
        return tf.reduce_mean(tf.stack([lower, upper]) ** POWER, axis=1)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "non_negative": self.non_negative}


def _rounded_if(
    is_known: tf.Tensor, inputs: tf.Tensor, lower: tf.Tensor, upper: tf.Tensor
) -> tf.Tensor:
    """Returns the inputs rounded, or as they are; its gradient is one operation in both cases."""

    @tf.custom_gradient
    def select(inputs: tf.Tensor) -> Any:
        rounded = tf.quantization.fake_quant_with_min_max_vars(inputs, lower, upper)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.quantization.fake_quant_with_min_max_vars_gradient(
                upstream,
                inputs,
                tf.where(is_known, lower, -_BEYOND_ALL),
                tf.where(is_known, upper, _BEYOND_ALL),
            )[0]

        return tf.where(is_known, rounded, inputs), gradient

    return select(inputs)


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class PixelQuantization(keras.layers.Layer):
    """Does what PixelNormalization does, from pixels of 8 bits to 8 bits, in ranges that are known.

    It is a depthwise convolution with a bias: an integer subtraction and multiplication would round
    mean and std to 8 bits, while each channel of a convolution has a scale of its own, and a bias
    32 bits.
    """

    def __init__(
        self, mean: float | Sequence[float], std: float | Sequence[float], **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.mean = mean
        self.std = std
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(inputs, tf.float32)
        pixels = tf.quantization.fake_quant_with_min_max_args(pixels, *PIXELS)
        mean, std = self._channels()
        normalized = tf.raw_ops.DepthwiseConv2dNative(
            input=pixels,
            filter=tf.reshape(tf.constant(1.0 / std), [1, 1, 3, 1]),
            strides=[1] * 4,
            padding="VALID",
        )
        normalized = tf.raw_ops.BiasAdd(value=normalized, bias=-mean / std)
        return tf.quantization.fake_quant_with_min_max_args(normalized, *self.bounds())

    def bounds(self) -> tuple[float, float]:
        """Returns the ends of the range of normalized pixels.

        If zero is no pixel's value, and so not a step from them, the range is a step longer: else
        for a mean of 127.5 every pixel would be halfway between two of the 256 values.
        """
        mean, std = self._channels()
        lower = min(0.0, float(((PIXELS[0] - mean) / std).min()))
        upper = max(0.0, float(((PIXELS[1] - mean) / std).max()))
        scale = (upper - lower) / 255
        is_on_grid = abs(lower / scale - round(lower / scale)) < 1e-3
        return lower, upper if is_on_grid else upper + scale

    def _channels(self) -> tuple[np.ndarray, np.ndarray]:
        both = (np.asarray(value, np.float32) for value in (self.mean, self.std))
        mean, std = (np.broadcast_to(value, [3]) for value in both)
        return mean, std

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "std": self.std}
