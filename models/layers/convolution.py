"""Convolution, also of the empty batch that a replica gets when `fit` runs out of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from models import forward_pass
from models.layers import SERIALIZATION_PACKAGE
from models.layers.layout import channel_axis


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class Convolution(keras.layers.Conv2D):
    """Keras' layer, with `or_of_empty_batch` in training."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        convolve: Any = super().call
        return or_of_empty_batch(self, convolve, inputs) if training else convolve(inputs)


def or_of_empty_batch(
    layer: Any, convolve: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor
) -> tf.Tensor:
    """Returns `convolve(inputs)`, and an empty output of the right shape for an empty batch.

    A strategy of Keras gives an empty batch to a replica for which no image is left. TensorFlow's
    convolutions of oneDNN then return the shape of the inputs. Batches of the engine are never
    empty.
    """
    context = tf.distribute.get_replica_context()
    if forward_pass.current() is not None or context is None or context.num_replicas_in_sync == 1:
        return convolve(inputs)

    def nothing() -> tf.Tensor:
        lengths = tf.unstack(tf.shape(inputs))
        shape = layer.compute_output_spec(keras.KerasTensor(inputs.shape, inputs.dtype.name)).shape
        channels = channel_axis(layer.data_format) % 4
        shape = [
            (lengths[axis] if axis in (0, channels) else 1) if size is None else size
            for axis, size in enumerate(shape)
        ]
        return tf.zeros(tf.stack(shape), layer.compute_dtype)

    return tf.cond(tf.shape(inputs)[0] == 0, nothing, lambda: convolve(inputs))
