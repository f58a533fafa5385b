"""A learned factor for each channel (Touvron et al., 2021, section 2)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import SERIALIZATION_PACKAGE


@keras.saving.register_keras_serializable(package=SERIALIZATION_PACKAGE)
class LayerScale(keras.layers.Layer):
    """inputs [..., C] times `gamma` [C], which starts at `initial_value`.

    It stands for the one in keras.applications, whose variable has no name: Keras numbers it anew
    at every build, and a checkpoint could not be restored by name.
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
