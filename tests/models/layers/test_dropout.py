from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.forward_pass import forward_pass
from models.layers.dropout import Dropout, StochasticDepth
from tests.models import towers

ONES = np.ones((64, 256), np.float32)
BRANCHES = np.ones((4096, 2, 2, 3), np.float32)
# Both layers with a probability of one half, their inputs, and how far the share of equal outputs
# of two independent masks may lie from one half: 4 standard deviations.
HALVES = pytest.mark.parametrize(
    ("layer_class", "inputs", "tolerance"),
    [(Dropout, ONES, 0.02), (StochasticDepth, BRANCHES, 0.04)],
)


def call(layer: keras.layers.Layer, seed: tuple[int, int], inputs) -> np.ndarray:
    with forward_pass(tf.constant(seed)):
        return layer(inputs, training=True).numpy()


def test_dropout_keeps_the_expectation_and_the_scale():
    dropped = call(Dropout(0.2, name="head.dropout"), (1, 2), ONES)
    assert set(np.unique(dropped)) == {np.float32(0.0), np.float32(1.0) / np.float32(0.8)}
    # 16,384 Bernoulli draws: the standard deviation of their mean is 0.0031.
    assert np.mean(dropped != 0.0) == pytest.approx(0.8, abs=0.0125)


def test_stochastic_depth_drops_whole_examples_and_keeps_the_expectation():
    outputs = call(StochasticDepth(0.8, name="blocks_1.drop"), (1, 2), BRANCHES)
    per_example = outputs.reshape(4096, -1)
    assert np.all(per_example == per_example[:, :1])
    assert set(np.unique(per_example)) == {np.float32(0.0), np.float32(1.25)}
    # 4,096 Bernoulli draws: the standard deviation of the mean output is 0.0078.
    assert outputs.mean() == pytest.approx(1.0, abs=0.032)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("layer_class", "rate"), [(Dropout, 0.1), (StochasticDepth, 0.9)])
def test_16_bits_keep_the_expectation(layer_class, rate, dtype):
    """Rounding 1 / 0.9 to bfloat16 alone would take 0.16% off it."""
    inputs = np.random.default_rng(1).uniform(1.0, 2.0, (1 << 22, 1)).astype(dtype)
    layer = layer_class(rate, name="a", dtype=f"mixed_{dtype}")
    outputs = call(layer, (1, 2), tf.constant(inputs)).astype(np.float64)
    assert np.mean(outputs != 0.0) == pytest.approx(0.9, abs=0.002)
    # 2^22 Bernoulli draws: the standard deviation of the sum, relative to it, is 0.00017.
    assert outputs.sum() / inputs.astype(np.float64).sum() == pytest.approx(1.0, abs=0.0007)


@HALVES
def test_masks_depend_on_seed_and_name_only(layer_class, inputs, tolerance):
    layer = layer_class(0.5, name="a")
    first = call(layer, (1, 2), inputs)
    np.testing.assert_array_equal(first, call(layer, (1, 2), inputs))
    np.testing.assert_array_equal(first, call(layer_class(0.5, name="a"), (1, 2), inputs))
    for other in (
        call(layer, (1, 3), inputs),
        call(layer, (2, 2), inputs),
        call(layer_class(0.5, name="b"), (1, 2), inputs),
    ):
        assert np.mean(first == other) == pytest.approx(0.5, abs=tolerance)


def test_towers_draw_different_masks():
    strategy = towers.mirrored(2)
    with strategy.scope():
        layer = Dropout(0.5, name="a")

    def tower(seed):
        with forward_pass(tf.reshape(seed, [2])):
            return [layer(ONES, training=True)]

    (first,), (second,) = towers.run(strategy, tower, towers.split(strategy, [[7, 0], [7, 1]]))
    np.testing.assert_array_equal(first, call(layer, (7, 0), ONES))
    np.testing.assert_array_equal(second, call(layer, (7, 1), ONES))
    assert np.mean(first == second) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("layer_class", "keeps_all", "inputs"), [(Dropout, 0.0, ONES), (StochasticDepth, 1.0, BRANCHES)]
)
def test_identity_outside_training_and_where_all_is_kept(layer_class, keeps_all, inputs):
    np.testing.assert_array_equal(layer_class(0.9)(inputs, training=False), inputs)
    np.testing.assert_array_equal(layer_class(keeps_all)(inputs, training=True), inputs)


def test_gradient_flows_through_kept_units_only():
    layer = Dropout(0.5, name="a")
    inputs = tf.random.stateless_normal([8, 8], [0, 1])
    with tf.GradientTape() as tape, forward_pass(tf.constant([3, 4])):
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    np.testing.assert_array_equal(
        tape.gradient(outputs, inputs), np.where(outputs.numpy() != 0.0, 2.0, 0.0)
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_branches_stay_16_bit(dtype):
    layer = StochasticDepth(0.5, dtype=f"mixed_{dtype}")
    outputs = call(layer, (1, 2), tf.cast(BRANCHES, dtype))
    assert outputs.dtype == tf.as_dtype(dtype).as_numpy_dtype
    assert set(np.unique(outputs.astype(np.float32))) == {0.0, 2.0}


@HALVES
def test_jit_compiled_masks_equal_plain_ones(layer_class, inputs, tolerance):
    layer = layer_class(0.5, name="a")

    @tf.function(jit_compile=True, autograph=False)
    def compiled(seed):
        with forward_pass(seed):
            return layer(inputs, training=True)

    np.testing.assert_array_equal(compiled(tf.constant([1, 2])), call(layer, (1, 2), inputs))


def test_a_network_call_without_seed_is_an_error():
    with forward_pass(None), pytest.raises(ValueError, match="needs a seed"):
        Dropout(0.5, name="head.dropout")(ONES, training=True)


def test_plain_keras_use_draws_again_at_each_call():
    layer = Dropout(0.5)
    first, second = (layer(ONES, training=True).numpy() for _ in range(2))
    assert np.mean(first == second) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("layer_class", "probability", "message"),
    [
        (Dropout, -0.1, "rate must be in"),
        (Dropout, 1.0, "rate must be in"),
        (StochasticDepth, 0.0, "keep_probability must be in"),
        (StochasticDepth, 1.1, "keep_probability must be in"),
    ],
)
def test_impossible_probabilities_are_errors(layer_class, probability, message):
    with pytest.raises(ValueError, match=message):
        layer_class(probability)


def test_configuration_survives_serialization():
    dropout = keras.layers.deserialize(keras.layers.serialize(Dropout(0.3, name="a")))
    assert (type(dropout), dropout.rate, dropout.name) == (Dropout, 0.3, "a")
    depth = keras.layers.deserialize(keras.layers.serialize(StochasticDepth(0.9, name="a")))
    assert (type(depth), depth.keep_probability, depth.name) == (StochasticDepth, 0.9, "a")
