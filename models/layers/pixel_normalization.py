"""Pixels to the range a network expects, in float32, on the network's device.

Mean and standard deviation of ImageNet's training pixels, RGB, for pixels in 0..255.

Mean and standard deviation of CIFAR-10's training pixels, per channel, for pixels in 0..255.

The networks for CIFAR-10 normalize by them, as Huang et al., 2017, section 4.2, did. (He et al.,
2015, section 4.2, subtracted a mean of each pixel, which takes the data set to compute.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from models.layers import SERIALIZATION_PACKAGE


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class PixelNormalization(keras.layers.Layer):
    """(pixels - mean) / std of [B, H, W, 3] pixels in 0..255.

    mean and std are one number each, or one a channel.
    The arithmetic is float32 and only its result is cast to `output_dtype`: a resized image holds
    fractions that 16 bits would round away before the mean is subtracted.
    """

    def __init__(
        self,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        output_dtype: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.mean = mean
        self.std = std
        self.output_dtype = output_dtype
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(inputs, tf.float32)
        normalized = (pixels - tf.constant(self.mean)) / tf.constant(self.std)
        return tf.cast(normalized, self.output_dtype)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.output_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mean": self.mean,
            "std": self.std,
            "output_dtype": self.output_dtype,
        }


IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
# The means that VGG and the first ResNets subtracted (Caffe's); they divided by nothing.
IMAGENET_CENTER = (123.68, 116.779, 103.939)


CIFAR10_MEAN = (125.3, 123.0, 113.9)
CIFAR10_STD = (63.0, 62.1, 66.7)
