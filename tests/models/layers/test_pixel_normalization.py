from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.pixel_normalization import PixelNormalization


def test_one_mean_a_channel():
    layer = PixelNormalization((10.0, 20.0, 30.0), (1.0, 2.0, 4.0))
    pixels = np.full((1, 1, 1, 3), 50, np.uint8)
    np.testing.assert_array_equal(layer(pixels)[0, 0, 0], [40.0, 15.0, 5.0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_uint8_and_float_pixels_give_the_same(dtype):
    layer = PixelNormalization(127.0, 128.0, output_dtype=dtype)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    outputs = layer(pixels)
    assert outputs.dtype == dtype
    # (pixel - 127) / 128 has at most 8 significant bits: exact in every dtype.
    expected = (np.arange(256.0) - 127.0) / 128.0
    np.testing.assert_array_equal(tf.cast(outputs, tf.float32).numpy().ravel(), expected)
    np.testing.assert_array_equal(outputs, layer(pixels.astype(np.float32)))


def test_fractions_are_rounded_after_the_mean_is_subtracted():
    layer = PixelNormalization(127.0, 128.0, output_dtype="bfloat16")
    outputs = layer(np.full((1, 1, 1, 1), 128.25, np.float32))
    # bfloat16 would have rounded 128.25 to 128 first, and 1.25 to 1.
    np.testing.assert_array_equal(tf.cast(outputs, tf.float32).numpy().ravel(), [1.25 / 128.0])


def test_configuration_survives_serialization():
    layer = PixelNormalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), output_dtype="bfloat16")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    pixels = np.ones((1, 2, 2, 3), np.uint8)
    np.testing.assert_array_equal(copy(pixels), layer(pixels))
