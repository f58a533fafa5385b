from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.residual import LayerScale, ZeroPaddedShortcut


def test_layer_scale_multiplies_each_channel():
    layer = LayerScale(0.5)
    inputs = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(layer(inputs), 0.5 * inputs)
    layer.gamma.assign([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(layer(inputs), inputs * [1.0, 2.0, 3.0])
    assert layer.gamma.name == "gamma"
    assert layer.gamma.trainable


def test_layer_scale_in_half_precision_and_serialized():
    layer = LayerScale(0.25, dtype="mixed_bfloat16", name="scale")
    outputs = layer(tf.ones([1, 4], tf.bfloat16))
    assert outputs.dtype == tf.bfloat16
    assert layer.gamma.dtype == "float32"
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    np.testing.assert_array_equal(again(tf.ones([1, 4], tf.bfloat16)), outputs)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros(data_format):
    images = np.random.default_rng(1).normal(size=(2, 5, 4, 3)).astype(np.float32)
    expected = np.concatenate([images[:, ::2, ::2], np.zeros((2, 3, 2, 4))], axis=-1)
    if data_format == "channels_first":
        images, expected = images.transpose(0, 3, 1, 2), expected.transpose(0, 3, 1, 2)
    layer = ZeroPaddedShortcut(7, 2, data_format=data_format)
    np.testing.assert_array_equal(layer(images), expected)
    assert layer(keras.KerasTensor((None, *images.shape[1:]))).shape == (None, *expected.shape[1:])
