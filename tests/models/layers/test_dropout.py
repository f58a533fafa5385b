from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.forward_pass import forward_pass
from models.layers.dropout import Dropout
from tests.models import towers

ONES = np.ones((64, 256), np.float32)


def masks(layer: Dropout, seed: tuple[int, int], inputs=ONES) -> np.ndarray:
    with forward_pass(tf.constant(seed)):
        return layer(inputs, training=True).numpy()


def test_expectation_and_scale():
    dropped = masks(Dropout(0.2, name="head.dropout"), (1, 2))
    assert set(np.unique(dropped)) == {np.float32(0.0), np.float32(1.0) / np.float32(0.8)}
    # 16,384 Bernoulli draws: the standard deviation of their mean is 0.0031.
    assert np.mean(dropped != 0.0) == pytest.approx(0.8, abs=0.0125)


def test_the_same_seed_repeats_and_others_differ():
    layer = Dropout(0.5, name="a")
    first = masks(layer, (1, 2))
    np.testing.assert_array_equal(first, masks(layer, (1, 2)))
    np.testing.assert_array_equal(first, masks(Dropout(0.5, name="a"), (1, 2)))
    for other in (
        masks(layer, (1, 3)),
        masks(layer, (2, 2)),
        masks(Dropout(0.5, name="b"), (1, 2)),
    ):
        # Independent masks agree on half of the units.
        assert np.mean(first == other) == pytest.approx(0.5, abs=0.02)


def test_towers_draw_different_masks():
    strategy = towers.mirrored(2)
    with strategy.scope():
        layer = Dropout(0.5, name="a")

    def tower(seed):
        with forward_pass(tf.reshape(seed, [2])):
            return [layer(ONES, training=True)]

    (first,), (second,) = towers.run(strategy, tower, towers.split(strategy, [[7, 0], [7, 1]]))
    np.testing.assert_array_equal(first, masks(layer, (7, 0)))
    np.testing.assert_array_equal(second, masks(layer, (7, 1)))
    assert np.mean(first == second) == pytest.approx(0.5, abs=0.02)


def test_identity_outside_training():
    layer = Dropout(0.9)
    np.testing.assert_array_equal(layer(ONES, training=False), ONES)
    np.testing.assert_array_equal(Dropout(0.0)(ONES, training=True), ONES)


def test_gradient_flows_through_kept_units_only():
    layer = Dropout(0.5, name="a")
    inputs = tf.random.stateless_normal([8, 8], [0, 1])
    with tf.GradientTape() as tape, forward_pass(tf.constant([3, 4])):
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    np.testing.assert_array_equal(
        tape.gradient(outputs, inputs), np.where(outputs.numpy() != 0.0, 2.0, 0.0)
    )


def test_jit_compiled_masks_equal_plain_ones():
    layer = Dropout(0.5, name="a")

    @tf.function(jit_compile=True, autograph=False)
    def compiled(seed):
        with forward_pass(seed):
            return layer(ONES, training=True)

    np.testing.assert_array_equal(compiled(tf.constant([1, 2])), masks(layer, (1, 2)))


def test_a_network_call_without_seed_is_an_error():
    with forward_pass(None), pytest.raises(ValueError, match="needs a seed"):
        Dropout(0.5, name="head.dropout")(ONES, training=True)


def test_plain_keras_use_draws_anew_at_each_call():
    layer = Dropout(0.5)
    first, second = (layer(ONES, training=True).numpy() for _ in range(2))
    assert np.mean(first == second) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_outside_0_to_1_are_errors(rate):
    with pytest.raises(ValueError, match="rate must be in"):
        Dropout(rate)


def test_configuration_survives_serialization():
    copy = keras.layers.deserialize(keras.layers.serialize(Dropout(0.3, name="a")))
    assert (type(copy), copy.rate, copy.name) == (Dropout, 0.3, "a")
