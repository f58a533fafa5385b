from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from models.layers.residual import LayerScale


def test_every_channel_has_its_factor():
    layer = LayerScale(0.5)
    inputs = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(layer(inputs), 0.5 * inputs)
    layer.gamma.assign([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(layer(inputs), inputs * [1.0, 2.0, 3.0])
    assert layer.gamma.name == "gamma"
    assert layer.gamma.trainable


def test_half_precision_and_serialization():
    layer = LayerScale(0.25, dtype="mixed_bfloat16", name="scale")
    outputs = layer(tf.ones([1, 4], tf.bfloat16))
    assert outputs.dtype == tf.bfloat16
    assert layer.gamma.dtype == "float32"
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    np.testing.assert_array_equal(again(tf.ones([1, 4], tf.bfloat16)), outputs)
