"""A training view in bytes compared with the same view in floats: rounded, bounded, mirrored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import FLAGS
from preprocessing.images.views import random_view, train_image
from preprocessing.records.examples import Example
from tests.preprocessing.image_shards import encode

SIZE = 5  # so small that not all of it is cast by vector instructions, some of which saturate


@pytest.mark.parametrize(
    ("resize_method", "resize_kernels"),
    list(itertools.product(FLAGS["resize_method"].choices, FLAGS["resize_kernels"].choices)),
)
def test_bytes_are_the_nearest_to_the_view_in_floats(resize_method, resize_kernels):
    random = np.random.default_rng(3)
    black_and_white = 255 * random.integers(0, 2, (70, 60, 3), np.uint8)
    example = Example(encode(black_and_white, "PNG"), tf.constant(0), tf.zeros([0, 4]))
    options = DataParams(resize_method=resize_method, resize_kernels=resize_kernels)
    mirrored = []
    for number in range(40):
        seed, position = tf.constant([number, 5], tf.int64), tf.constant(number, tf.int64)
        floats = random_view(options, example, SIZE, seed, position).numpy()
        expected = np.rint(np.clip(floats, 0, 255))
        view = train_image(options, example, SIZE, seed, position).numpy()
        assert view.dtype == np.uint8
        mirrored.append(not np.array_equal(view, expected))
        np.testing.assert_array_equal(view, expected[:, ::-1] if mirrored[-1] else expected)
    assert len(set(mirrored)) == 2
