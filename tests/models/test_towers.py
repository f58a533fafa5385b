"""A network on the towers of a strategy, called as the engine calls it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.distribute import values as distribute_values

from models import registry
from tests.models import small_network, towers

IMAGES = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 3), np.uint8)
LABELS = (np.arange(8) % 4).astype(np.int32)
STRATEGIES = [towers.mirrored, towers.central_storage]


def step(network):
    """Returns a function of one tower: loss, logits, gradients and statistics."""

    def tower(images, labels, seed):
        with tf.GradientTape() as tape:
            result = network(images, training=True, seed=tf.reshape(seed, [2]))
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, result.logits)
            )
        gradients = tape.gradient(loss, [network.variables[name] for name in network.trainable])
        return [loss, result.logits, *gradients, *result.statistics.values()]

    return tower


def run(strategy, network, seeds):
    return towers.run(
        strategy,
        step(network),
        towers.split(strategy, IMAGES),
        towers.split(strategy, LABELS),
        towers.split(strategy, seeds),
    )


def copy_into(network, values):
    for name, variable in network.variables.items():
        variable.assign(values[name])


def random_values(network):
    generator = np.random.default_rng(3)
    return {
        name: generator.uniform(0.5, 1.5, variable.shape).astype(np.float32)
        for name, variable in network.variables.items()
    }


def test_variables_made_in_the_scope_are_mirrored():
    strategy = towers.mirrored(2)
    with strategy.scope():
        network = small_network.build()
    for variable in network.variables.values():
        assert isinstance(variable, distribute_values.MirroredVariable)
        assert isinstance(variable, tf.Variable)
        assert len(variable.values) == 2
        np.testing.assert_array_equal(variable.values[0], variable.values[1])


@pytest.mark.parametrize("make_strategy", STRATEGIES)
def test_towers_see_their_own_slice_seed_and_statistics(make_strategy):
    strategy = make_strategy(2)
    with strategy.scope():
        network = small_network.build()
    single = small_network.build()
    values = random_values(single)
    copy_into(network, values)
    copy_into(single, values)
    many = run(strategy, network, [[5, 0], [5, 1]])
    for index, tower in enumerate(many):
        part = slice(4 * index, 4 * index + 4)
        expected = step(single)(IMAGES[part], LABELS[part], tf.constant([[5, index]]))
        for actual, wanted in zip(tower, expected, strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make_strategy", STRATEGIES)
def test_synchronized_towers_equal_one_big_batch(make_strategy):
    strategy = make_strategy(4)
    with strategy.scope():
        network = small_network.without_randomness(small_network.build(sync_batch_norm=True))
    single = small_network.without_randomness(small_network.build())
    values = random_values(single)
    copy_into(network, values)
    copy_into(single, values)
    many = run(strategy, network, np.zeros((4, 2), np.int32))
    loss, logits, *rest = step(single)(IMAGES, LABELS, tf.constant([[0, 0]]))
    np.testing.assert_allclose(np.mean([tower[0] for tower in many]), loss, rtol=1e-5)
    of_towers = np.concatenate([tower[1] for tower in many])
    np.testing.assert_allclose(of_towers, logits, rtol=1e-4, atol=1e-5)
    # Gradients and statistics: their mean over the towers is that of the whole batch.
    for index, wanted in enumerate(rest, start=2):
        mean = np.mean([tower[index] for tower in many], axis=0)
        np.testing.assert_allclose(mean, wanted, rtol=1e-3, atol=1e-5)


def test_compiled_towers_inside_a_mirrored_step():
    strategy = towers.mirrored(2)
    with strategy.scope():
        network = small_network.build()

    def compiled(*arguments):
        # One function a tower: a shared one would hold the variables of the first.
        function = tf.function(step(network), jit_compile=True, autograph=False)
        return function(*arguments)

    seeds = towers.split(strategy, [[5, 0], [5, 1]])
    arguments = towers.split(strategy, IMAGES), towers.split(strategy, LABELS), seeds
    plain = towers.run(strategy, step(network), *arguments)
    jitted = towers.run(strategy, compiled, *arguments)
    for one, other in zip(tf.nest.flatten(plain), tf.nest.flatten(jitted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_efficientnet_lite0_trains_on_small_images_on_two_towers():
    keras.utils.set_random_seed(1)
    strategy = towers.mirrored(2)
    with strategy.scope():
        network = registry.get("efficientnet_lite0").build(num_classes=4, image_size=32)
    variables = [network.variables[name] for name in network.trainable]
    generator = np.random.default_rng(4)
    images = generator.integers(0, 256, (16, 32, 32, 3), np.uint8)
    labels = (np.arange(16) % 4).astype(np.int32)
    slices = towers.split(strategy, images), towers.split(strategy, labels)

    @tf.function
    def train(step_index):
        def tower(images, labels):
            replica = tf.distribute.get_replica_context()
            seed = tf.stack([step_index, tf.cast(replica.replica_id_in_sync_group, tf.int32)])
            with tf.GradientTape() as tape:
                logits = network(images, training=True, seed=seed).logits
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                loss = tf.reduce_mean(losses)
            gradients = replica.all_reduce(
                tf.distribute.ReduceOp.MEAN, tape.gradient(loss, variables)
            )

            def update(strategy, gradients):
                for variable, gradient in zip(variables, gradients, strict=True):
                    strategy.extended.update(
                        variable, lambda one, value: one.assign_sub(0.05 * value), (gradient,)
                    )

            replica.merge_call(update, (gradients,))
            return loss

        per_tower = strategy.run(tower, slices)
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, per_tower, axis=None)

    losses = [float(train(tf.constant(index))) for index in range(25)]
    # 16 images are soon known by heart; chance is log(4) = 1.39.
    assert np.mean(losses[-5:]) < 0.5
    first, second = variables[0].values
    np.testing.assert_array_equal(first, second)
