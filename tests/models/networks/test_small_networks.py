"""LeNet and the trivial network."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.cost import num_parameters


@pytest.mark.parametrize(("image_size", "pooled"), [(28, 7), (8, 2), (32, 8), (30, 7)])
def test_lenet_parameters(image_size, pooled):
    network = registry.get("lenet").build(num_classes=10, image_size=image_size)
    expected = (
        (5 * 5 * 3 * 32 + 32)
        + (5 * 5 * 32 * 64 + 64)
        + (pooled * pooled * 64 * 512 + 512)
        + (512 * 10 + 10)
    )
    assert num_parameters(network) == expected
    images = np.zeros((3, image_size, image_size, 3), np.uint8)
    assert network(images, training=False).logits.shape == (3, 10)


def test_trivial_parameters():
    network = registry.get("trivial").build(num_classes=1000, image_size=227)
    expected = (227 * 227 * 3 + 1) + (4096 + 4096) + (4096 * 1000 + 1000)
    assert num_parameters(network) == expected


@pytest.mark.parametrize("name", ["lenet", "trivial"])
def test_names_and_decay(name):
    network = registry.get(name).build(num_classes=10, image_size=28)
    assert all(key.startswith(f"{name}/") for key in network.variables)
    kernels = {key for key in network.variables if key.endswith("/kernel")}
    assert network.decayed == kernels
    assert tuple(network.variables) == network.trainable


@pytest.mark.parametrize("name", ["lenet", "trivial"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_logits_are_float32_in_every_dtype(name, dtype):
    network = registry.get(name).build(num_classes=10, image_size=28, dtype=dtype)
    result = network(np.full((2, 28, 28, 3), 200, np.uint8), training=True)
    assert result.logits.dtype == tf.float32
    assert result.logits.shape == (2, 10)
    assert {variable.dtype for variable in network.variables.values()} == {tf.float32}


def test_lenet_learns_to_tell_bright_from_dark_corners():
    network = registry.get("lenet").build(num_classes=4, image_size=8)
    variables = [network.variables[name] for name in network.trainable]
    images = np.zeros((4, 8, 8, 3), np.uint8)
    for label, (row, column) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
        images[label, row : row + 4, column : column + 4] = 255

    def loss() -> tf.Tensor:
        logits = network(images, training=True).logits
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.range(4), logits))

    for _ in range(40):
        with tf.GradientTape() as tape:
            value = loss()
        for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
            variable.assign_sub(0.05 * gradient)
    # Chance is log(4) = 1.39.
    assert loss() < 0.1
