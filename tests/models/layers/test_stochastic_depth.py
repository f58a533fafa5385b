from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.forward_pass import forward_pass
from models.layers.dropout import StochasticDepth

ONES = np.ones((4096, 2, 2, 3), np.float32)


def call(layer: StochasticDepth, seed: tuple[int, int], inputs=ONES) -> np.ndarray:
    with forward_pass(tf.constant(seed)):
        return layer(inputs, training=True).numpy()


def test_drops_whole_examples_and_keeps_the_expectation():
    outputs = call(StochasticDepth(0.8, name="blocks_1.drop"), (1, 2))
    per_example = outputs.reshape(4096, -1)
    assert np.all(per_example == per_example[:, :1])
    assert set(np.unique(per_example)) == {np.float32(0.0), np.float32(1.25)}
    # 4,096 Bernoulli draws: the standard deviation of the mean output is 0.0078.
    assert outputs.mean() == pytest.approx(1.0, abs=0.032)


def test_masks_depend_on_seed_and_name_only():
    first = call(StochasticDepth(0.5, name="a"), (1, 2))
    np.testing.assert_array_equal(first, call(StochasticDepth(0.5, name="a"), (1, 2)))
    for other in (
        call(StochasticDepth(0.5, name="a"), (1, 3)),
        call(StochasticDepth(0.5, name="b"), (1, 2)),
    ):
        assert np.mean(first == other) == pytest.approx(0.5, abs=0.04)


def test_identity_outside_training_and_at_probability_one():
    np.testing.assert_array_equal(StochasticDepth(0.5)(ONES, training=False), ONES)
    np.testing.assert_array_equal(StochasticDepth(1.0)(ONES, training=True), ONES)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_branches_stay_16_bit(dtype):
    layer = StochasticDepth(0.5, dtype=f"mixed_{dtype}")
    outputs = call(layer, (1, 2), tf.cast(ONES, dtype))
    assert outputs.dtype == tf.as_dtype(dtype).as_numpy_dtype
    assert set(np.unique(outputs.astype(np.float32))) == {0.0, 2.0}


def test_jit_compiled_masks_equal_plain_ones():
    layer = StochasticDepth(0.5, name="a")

    @tf.function(jit_compile=True, autograph=False)
    def compiled(seed):
        with forward_pass(seed):
            return layer(ONES, training=True)

    np.testing.assert_array_equal(compiled(tf.constant([1, 2])), call(layer, (1, 2)))


@pytest.mark.parametrize("probability", [0.0, 1.1])
def test_probabilities_outside_0_to_1_are_errors(probability):
    with pytest.raises(ValueError, match="keep_probability must be in"):
        StochasticDepth(probability)


def test_configuration_survives_serialization():
    copy = keras.layers.deserialize(keras.layers.serialize(StochasticDepth(0.9, name="a")))
    assert (type(copy), copy.keep_probability, copy.name) == (StochasticDepth, 0.9, "a")
