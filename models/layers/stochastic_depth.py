"""Stochastic depth: dropout of whole residual branches (Huang et al., 2016)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import SERIALIZATION_PACKAGE
from models.layers.layer_random import layer_uniform


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class StochasticDepth(keras.layers.Layer):
    """In training, keeps an example's branch with `keep_probability`, divided by it, or zeroes it.

    inputs: [B, ...], the residual branch before it is added. Without training it is the identity.
    """

    def __init__(self, keep_probability: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 < keep_probability <= 1.0:
            raise ValueError(f"keep_probability must be in (0, 1], got {keep_probability}")
        self.keep_probability = keep_probability
        self.seed_generator = keras.random.SeedGenerator() if keep_probability < 1.0 else None
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.seed_generator is None:
            return inputs
        shape = tf.concat([tf.shape(inputs)[:1], tf.ones([len(inputs.shape) - 1], tf.int32)], 0)
        uniform = layer_uniform(self.name, shape, self.seed_generator)
        keep = tf.cast(uniform < self.keep_probability, tf.float32) / self.keep_probability
        return inputs * tf.cast(keep, inputs.dtype)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keep_probability": self.keep_probability}
