"""An image of one value keeps it: through every crop, kernel, evaluation and training view."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import FLAGS
from preprocessing.augmentation.policies import OPERATIONS, distort_color, rand_augment
from preprocessing.images.views import eval_image, train_image
from preprocessing.records.examples import Example
from tests.preprocessing.image_shards import encode

VALUE = (201, 128, 3)
SHAPES = [(1, 1), (1, 60), (60, 1), (2, 3), (50, 40), (20, 70)]
KERNELS = list(itertools.product(FLAGS["resize_method"].choices, FLAGS["resize_kernels"].choices))
SIZE = 16


def constant_example(height, width):
    encoded = encode(np.full((height, width, 3), VALUE, np.uint8), "PNG")
    return Example(tf.constant(encoded), tf.constant(0), tf.zeros([0, 4]))


@pytest.mark.parametrize(("resize_method", "resize_kernels"), KERNELS)
@pytest.mark.parametrize("eval_method", FLAGS["eval_method"].choices)
def test_evaluation(eval_method, resize_method, resize_kernels):
    options = DataParams(
        eval_method=eval_method, resize_method=resize_method, resize_kernels=resize_kernels
    )
    # Area and bicubic sum float32 weights.
    tolerance = 1e-5 if resize_method in ("area", "bicubic", "round_robin") else 0
    for position, shape in enumerate(SHAPES):
        view = eval_image(options, constant_example(*shape), SIZE, tf.constant(position, tf.int64))
        expected = np.broadcast_to(VALUE, (SIZE, SIZE, 3))
        np.testing.assert_allclose(view, expected, rtol=tolerance, err_msg=str(shape))


@pytest.mark.parametrize(("resize_method", "resize_kernels"), KERNELS)
@pytest.mark.parametrize("train_crop", FLAGS["train_crop"].choices)
def test_training(train_crop, resize_method, resize_kernels):
    options = DataParams(
        train_crop=train_crop, resize_method=resize_method, resize_kernels=resize_kernels
    )
    for number, shape in enumerate(SHAPES):
        seed, position = tf.constant([number, 5], tf.int64), tf.constant(number, tf.int64)
        view = train_image(options, constant_example(*shape), SIZE, seed, position)
        np.testing.assert_array_equal(view, np.broadcast_to(VALUE, (SIZE, SIZE, 3)))


def test_color_distortion_treats_all_pixels_alike():
    """The color changes, the image stays even."""
    image = tf.constant(np.broadcast_to(np.array(VALUE, np.float32), (9, 7, 3)))
    colors = set()
    for number in range(40):
        seed = tf.constant([number, 3], tf.int64)
        distorted = distort_color(image, seed, tf.constant(number, tf.int64)).numpy()
        assert (distorted == distorted[0, 0]).all()
        colors.add(tuple(distorted[0, 0]))
    assert len(colors) == 40


def test_one_operation_of_rand_augment_keeps_a_gray_image_even():
    """Gray 128, with which the geometric operations and Cutout fill: no edge may appear."""
    augment = functools.partial(rand_augment, num_layers=1, magnitude=7)
    image = tf.fill([24, 24, 3], tf.constant(128, tf.uint8))
    values = set()
    for number in range(8 * len(OPERATIONS)):
        view = augment(image, tf.constant([number, 3], tf.int64)).numpy()
        assert (view == view[0, 0]).all()
        values.add(int(view[0, 0, 0]))
    assert len(values) > 3
