"""Dropout of single units, and of whole residual branches, with stateless random numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import forward_pass
from models.layers import SERIALIZATION_PACKAGE


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class Dropout(keras.layers.Layer):
    """Zeroes each unit with probability `rate` in training and divides the rest by 1 - rate.

    Srivastava et al., 2014.
    """

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
        keep_probability = representable(1.0 - self.rate, inputs.dtype)
        kept = inputs / tf.cast(keep_probability, inputs.dtype)
        return tf.where(uniform >= 1.0 - keep_probability, kept, tf.zeros([], inputs.dtype))

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class StochasticDepth(keras.layers.Layer):
    """Keeps an example's branch in training with a probability, divided by it, or zeroes it.

    Huang et al., 2016. Its inputs [B, ...] are the residual branch before it is added. A branch
    that is not trained (see models/forward_pass.py) is kept, as in inference.
    """

    def __init__(self, keep_probability: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 < keep_probability <= 1.0:
            raise ValueError(f"keep_probability must be in (0, 1], got {keep_probability}")
        self.keep_probability = keep_probability
        self.seed_generator = keras.random.SeedGenerator() if keep_probability < 1.0 else None
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.seed_generator is None or forward_pass.is_frozen(self):
            return inputs
        shape = tf.concat([tf.shape(inputs)[:1], tf.ones([len(inputs.shape) - 1], tf.int32)], 0)
        uniform = layer_uniform(self.name, shape, self.seed_generator)
        scale = representable(1.0 / self.keep_probability, inputs.dtype)
        return inputs * tf.cast(tf.cast(uniform < 1.0 / scale, tf.float32) * scale, inputs.dtype)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keep_probability": self.keep_probability}


def representable(value: float, dtype: tf.DType) -> float:
    """Rounds a divisor or scale to `dtype`, for a probability of keeping that agrees with it.

    In bfloat16 1 / 0.9 becomes 1.109, 0.2% less. With a probability of 1 / 1.109 in place of 0.9
    the expectation stays what it is outside training.
    """
    if dtype == tf.float32:
        return value
    return float(np.asarray(value, tf.as_dtype(dtype).as_numpy_dtype))


def layer_uniform(
    layer_name: str, shape: tf.Tensor, generator: keras.random.SeedGenerator | None
) -> tf.Tensor:
    """Draws uniform float32 numbers in [0, 1) that depend on the call's seed and the layer's name.

    Keras would draw from a counter that a MirroredStrategy keeps equal on all towers: all of them
    would drop the same units, and a resumed run would need the counter.

    Args:
        generator: gives the seed in plain Keras use, outside a network call.

    Raises:
        RuntimeError: there is neither a network call nor a generator.
    """
    current_pass = forward_pass.current()
    if current_pass is not None:
        seed = current_pass.layer_seed(layer_name)
    elif generator is not None:
        seed = tf.convert_to_tensor(generator.next())
    else:
        raise RuntimeError(f"layer {layer_name!r} runs only in a Network: there is no forward pass")
    # The bits of Philox are the same with and without XLA; TensorFlow's uniform floats are not.
    full_range: Any = None
    bits = tf.random.stateless_uniform(
        shape, seed, full_range, full_range, dtype=tf.uint32, alg="philox"
    )
    return tf.cast(bits, tf.float32) * 2.0**-32
