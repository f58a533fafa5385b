"""Pixels to the range a network expects, in float32, on the network's device."""

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
