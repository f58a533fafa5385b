"""Pixels to the range that a network expects, in float32, on the network's device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from models.layers import SERIALIZATION_PACKAGE


class PixelRange(NamedTuple):
    """How RGB pixels in 0..255 are normalized: (pixels - mean) / std, for all channels or each."""

    mean: float | tuple[float, float, float]
    std: float | tuple[float, float, float]


PLUS_MINUS_ONE = PixelRange(127.5, 127.5)
HALF_RANGE = PixelRange(128.0, 128.0)
IMAGENET = PixelRange(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
# VGG and the first ResNets, trained in Caffe, subtracted these means and did not divide.
IMAGENET_CENTERED = PixelRange(mean=(123.68, 116.779, 103.939), std=1.0)
# Huang et al., 2017, section 4.2. (He et al., 2015, subtracted a mean of each pixel instead.)
CIFAR10 = PixelRange(mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7))


def normalize_pixels(pixels: tf.Tensor, pixel_range: PixelRange, dtype: str) -> tf.Tensor:
    """Normalizes pixels [B, H, W, 3] in 0..255 in float32 and casts the result to `dtype`.

    A resized image holds fractions that 16 bits would round away before the mean is subtracted.
    """
    mean, std = (tf.constant(value) for value in pixel_range)
    return tf.cast((tf.cast(pixels, tf.float32) - mean) / std, dtype)


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class PixelNormalization(keras.layers.Layer):
    """The same as `normalize_pixels`, as a layer."""

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
        pixel_range: Any = (self.mean, self.std)
        return normalize_pixels(inputs, pixel_range, self.output_dtype)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.output_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mean": self.mean,
            "std": self.std,
            "output_dtype": self.output_dtype,
        }
