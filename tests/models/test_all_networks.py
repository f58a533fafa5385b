"""Tests of every network: two towers make the step of one, and five steps lower the loss.

Long networks are marked slow; the others stand for their families.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.layers import dropout
from models.network import Network
from models.slim import layers as slim_layers
from tests.models import towers

# These represent their families in a quick run.
QUICK = (
    "trivial",
    "lenet",
    "efficientnet_lite0",
    "resnet20",
    "googlenet",
    "mobilenet_v1_relu",
    "keras_mobilenet",
)
SMALL_IMAGE_SIZE = 64
# Networks that need more; alexnet_v2 to vgg end in a convolution over a feature map of fixed size.
IMAGE_SIZES = {
    "trivial": 8,
    "lenet": 8,
    "resnet20": 32,
    "densenet40_k12": 32,
    "alexnet_v2": 195,
    "overfeat": 231,
    "vgg_a": 224,
    "vgg_16": 224,
    "vgg_19": 224,
    "inception_v3": 107,
    "inception_v4": 107,
    "keras_inceptionresnetv2": 75,
    "keras_inceptionv3": 75,
    "keras_xception": 71,
}
NUM_CLASSES = 4
AUXILIARY_WEIGHT = 0.4

EVERY_NETWORK = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in registry.names()
]


@pytest.fixture(autouse=True)
def no_randomness(monkeypatch):
    """Makes dropout keep every unit, as its masks depend on the tower."""

    def patch(module, value) -> None:
        monkeypatch.setattr(module, "layer_uniform", lambda _, shape, __: value(shape))

    # Dropout keeps what is above its rate, stochastic depth (one number an example) and TF-Slim's
    # dropout what is below the probability to keep.
    def above_all_rates_or_zero(shape):
        is_depth = tf.equal(tf.reduce_prod(shape[1:]), 1)
        return tf.fill(shape, tf.where(is_depth, 0.0, 0.99))

    patch(dropout, above_all_rates_or_zero)
    patch(slim_layers, tf.zeros)


def build(name: str) -> Network:
    image_size = IMAGE_SIZES.get(name, SMALL_IMAGE_SIZE)
    return registry.get(name).build(num_classes=NUM_CLASSES, image_size=image_size)


def examples(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns colored patches, which a network separates more easily than noise, and labels."""
    side = IMAGE_SIZES.get(name, SMALL_IMAGE_SIZE)
    patches = np.random.default_rng(1).integers(0, 256, (count, 4, 4, 3), np.uint8)
    rows = np.arange(side) * 4 // side
    labels = np.arange(count, dtype=np.int32) % NUM_CLASSES
    return patches[:, rows][:, :, rows], labels + int(registry.get(name).background_class)


def gradients_of(network: Network):
    """(images, labels) -> loss, gradients and statistics of one tower."""

    def tower(images, labels):
        with tf.GradientTape() as tape:
            result = network(images, training=True, seed=tf.constant([1, 2]))
            cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
            loss = tf.reduce_mean(cross_entropy(labels, result.logits))
            if result.aux_logits is not None:
                auxiliary = tf.reduce_mean(cross_entropy(labels, result.aux_logits))
                loss += AUXILIARY_WEIGHT * auxiliary
        gradients = tape.gradient(loss, [network.variables[key] for key in network.trainable])
        statistics = [result.statistics[key] for key in statistic_names(network)]
        return [loss, *gradients, *statistics]

    return tower


def statistic_names(network: Network) -> list[str]:
    return [name for name in network.variables if name not in set(network.trainable)]


def two_towers_and_one(name: str, halves_on_one_tower: int) -> tuple[list[str], list, list]:
    """Runs a step on two towers with identical halves of a batch, and on one tower.

    Returns:
        Names, means of the two towers' values, and the one tower's values.
    """
    images, labels = examples(name, 4)
    strategy = towers.mirrored(2)
    with strategy.scope():
        network = build(name)
    single = build(name)
    assert list(single.variables) == list(network.variables)
    for key, variable in single.variables.items():
        variable.assign(network.variables[key].values[0])
    halves = [towers.split(strategy, np.concatenate([half, half])) for half in (images, labels)]
    many = towers.run(strategy, gradients_of(network), *halves)
    on_one_tower = [np.concatenate([half] * halves_on_one_tower) for half in (images, labels)]
    wanted = tf.function(gradients_of(single), autograph=False)(*on_one_tower)
    names = ["loss", *network.trainable, *statistic_names(network)]
    means = [np.mean(values, axis=0) for values in zip(*many, strict=True)]
    return names, means, [value.numpy() for value in wanted]


def assert_equal(names: list[str], means: list, wanted: list) -> None:
    # Values that are only rounding errors of larger numbers are compared at their scale.
    scale = max(np.abs(value).max() for value in wanted)
    for name, mean, value in zip(names, means, wanted, strict=True):
        tolerance = 1e-4 * max(np.abs(value).max(), 1e-3 * scale)
        np.testing.assert_allclose(mean, value, rtol=1e-4, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_two_towers_make_the_step_of_one(name):
    """The one tower gets one of the two identical halves: its mean gradient is that of both.

    With both halves at once, sums would be rounded differently. With small batches at initial
    weights that matters: shuffling the four examples of a batch changes the gradients of
    efficientnet_lite0's first layer by 4%, and mobilenet_v1_relu's by 0.3%.
    """
    assert_equal(*two_towers_and_one(name, halves_on_one_tower=1))


@pytest.mark.parametrize(
    "name", ["trivial", "lenet", pytest.param("googlenet", marks=pytest.mark.slow)]
)
def test_two_towers_make_the_step_of_one_with_the_whole_batch(name):
    """These networks have no batch norm, which magnifies rounding errors."""
    assert_equal(*two_towers_and_one(name, halves_on_one_tower=2))


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_the_loss_falls_in_five_steps(name):
    network = build(name)
    images, labels = (tf.constant(array) for array in examples(name, 4))
    step = tf.function(gradients_of(network), autograph=False)
    variables = [network.variables[key] for key in network.trainable]
    losses = []
    for _ in range(6):
        loss, *rest = step(images, labels)
        losses.append(float(loss))
        gradients = rest[: len(variables)]
        # Polyak's step: to first order, the loss falls by a tenth.
        rate = 0.1 * loss / tf.linalg.global_norm(gradients) ** 2
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(rate * gradient)
    assert min(losses[1:]) < losses[0]
    logits = network(images, training=False).logits
    assert logits.shape == (4, NUM_CLASSES + int(network.background_class))
    assert np.all(np.isfinite(logits))
