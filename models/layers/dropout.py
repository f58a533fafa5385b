"""Dropout of single units (Srivastava et al., 2014)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import SERIALIZATION_PACKAGE
from models.layers.layer_random import layer_uniform


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class Dropout(keras.layers.Layer):
    """Zeroes each unit with probability `rate` in training and divides the rest by 1 - rate."""

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"rate must be in [0, 1), got {rate}")
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator() if rate else None
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.seed_generator is None:
            return inputs
        uniform = layer_uniform(self.name, tf.shape(inputs), self.seed_generator)
        kept = inputs / tf.cast(1.0 - self.rate, inputs.dtype)
        return tf.where(uniform >= self.rate, kept, tf.zeros([], inputs.dtype))

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}
