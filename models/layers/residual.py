"""Layers of residual blocks: a learned scale for a branch, and a shortcut without parameters."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import SERIALIZATION_PACKAGE
from models.layers.layout import channel_axis, tensorflow_layout


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class LayerScale(keras.layers.Layer):
    """Multiplies inputs [..., C] by `gamma` [C] (Touvron et al., 2021, section 2).

    It replaces the layer of keras.applications, whose variable has no name: Keras numbers it at
    every build, so that a checkpoint could not be restored by name.
    """

    def __init__(self, initial_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(
            shape=(input_shape[-1],),
            name="gamma",
            initializer=keras.initializers.Constant(self.initial_value),
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * tf.cast(tf.convert_to_tensor(self.gamma), inputs.dtype)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial_value": self.initial_value}


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class ZeroPaddedShortcut(keras.layers.Layer):
    """Takes every `strides`-th pixel and appends channels of zeros, up to `filters` channels.

    It is option A of He et al., 2015, for inputs [B, H, W, C] or [B, C, H, W].
    """

    def __init__(
        self, filters: int, strides: int, *, data_format: str = "channels_last", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.data_format = data_format
        self.layout = tensorflow_layout(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        axis = channel_axis(self.data_format) % 4
        steps = [1 if index in (0, axis) else self.strides for index in range(4)]
        sampled = tf.strided_slice(
            inputs, [0] * 4, tf.shape(inputs), steps, begin_mask=0b1111, end_mask=0b1111
        )
        channels: Any = inputs.shape[axis]
        added = self.filters - channels
        return tf.pad(sampled, [[0, added if index == axis else 0] for index in range(4)])

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        shape = list(inputs.shape)
        axis = channel_axis(self.data_format) % 4
        for index in {1, 2, 3} - {axis}:
            if shape[index] is not None:
                shape[index] = -(-shape[index] // self.strides)
        shape[axis] = self.filters
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "data_format": self.data_format,
        }
