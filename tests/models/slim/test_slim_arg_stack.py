"""Arg scopes of towers that take turns in the middle of a network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from tf_slim.ops.arg_scope import arg_scope, current_arg_scope

from models import registry
from models.layers.pixel_normalization import PLUS_MINUS_ONE
from models.model_spec import BuildConfig
from models.network import Network
from models.slim import arg_scopes, layers
from models.slim.adapter import slim_network
from tests.models import towers


def test_a_scope_is_open_in_its_thread_alone():
    with (
        ThreadPoolExecutor(1) as executor,
        arg_scope([layers.conv2d], stride=2) as scope,
    ):
        assert current_arg_scope() == scope != {}
        assert executor.submit(current_arg_scope).result() == {}
    assert current_arg_scope() == {}


def paddings(synchronized: bool) -> Network:
    """Builds two scopes in a row; global pooling hides the sizes that their paddings give."""

    def function(images, is_training):
        with arg_scopes.inception(is_training, synchronized):
            with arg_scope([layers.conv2d, layers.max_pool2d], padding="VALID"):
                features = layers.conv2d(images, 4, [3, 3], scope="first")
                features = layers.max_pool2d(features, [3, 3], stride=2)
            with arg_scope([layers.conv2d, layers.max_pool2d], padding="SAME"):
                features = layers.conv2d(features, 4, [3, 3], scope="second")
                return layers.max_pool2d(features, [3, 3], stride=2)

    return slim_network(BuildConfig("paddings", 4, image_size=8), PLUS_MINUS_ONE, function)


def two_towers_and_one(
    synchronized: Network, single: Network, strategy: tf.distribute.Strategy, images: np.ndarray
) -> tuple[list[list], list]:
    """Returns logits and moving statistics of each tower, and of one with the whole batch."""
    for name, variable in single.variables.items():
        variable.assign(synchronized.variables[name].values[0])

    def tower(network):
        def run(images):
            result = network(images, training=True, seed=tf.constant([1, 2]))
            return [result.logits, *(result.statistics[key] for key in sorted(result.statistics))]

        return run

    many = towers.run(strategy, tower(synchronized), towers.split(strategy, images))
    return many, tf.function(tower(single), autograph=False)(tf.constant(images))


def test_successive_scopes_on_synchronized_towers():
    images = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), np.uint8)
    strategy = towers.mirrored(2)
    with strategy.scope():
        network = paddings(synchronized=True)
    many, one = two_towers_and_one(network, paddings(synchronized=False), strategy, images)
    logits = np.concatenate([values[0] for values in many])
    np.testing.assert_allclose(logits, one[0], rtol=1e-4, atol=1e-5)
    for values in many:
        for actual, wanted in zip(values[1:], one[1:], strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_synchronized_inception_v3_has_the_statistics_of_one_tower():
    """Logits are not compared, as each tower has its own dropout masks."""
    images = np.random.default_rng(1).integers(0, 256, (8, 107, 107, 3), np.uint8)
    strategy = towers.mirrored(2)
    spec = registry.get("inception_v3")
    with strategy.scope():
        network = spec.build(num_classes=4, image_size=107, sync_batch_norm=True)
    single = spec.build(num_classes=4, image_size=107)
    many, one = two_towers_and_one(network, single, strategy, images)
    # Mean and variance of 94 convolutions, and of the two of the auxiliary head.
    assert len(one[1:]) == 2 * (94 + 2)
    for values in many:
        for actual, wanted in zip(values[1:], one[1:], strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
