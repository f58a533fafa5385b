"""The dynamic loss scale: tf_cnn_benchmarks' cases, the bounds, and a whole history."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.step import gradients


@pytest.mark.parametrize(
    ("scale", "good_steps", "finite", "expected"),
    [
        # Before the step 10 good ones were counted: it doubles the scale, the count starts again.
        (4.0, 10, True, (8.0, 0)),
        (4.0, 9, True, (4.0, 10)),
        (4.0, 0, True, (4.0, 1)),
        (4.0, 10, False, (2.0, 0)),
        (4.0, 3, False, (2.0, 0)),
        # Bounds.
        (1.0, 3, False, (1.0, 0)),
        (2.0**24, 10, True, (2.0**24, 0)),
    ],
)
def test_one_step(scale, good_steps, finite, expected):
    state = gradients.next_scale(scale, good_steps, finite, increase_every=10)
    assert (state.scale.numpy(), state.good_steps.numpy()) == expected
    assert (state.scale.dtype, state.good_steps.dtype) == (tf.float32, tf.int64)


def test_bounds_can_be_set():
    low = gradients.next_scale(16.0, 0, False, increase_every=1, minimum=16.0)
    high = gradients.next_scale(16.0, 1, True, increase_every=1, maximum=16.0)
    assert low.scale.numpy() == high.scale.numpy() == 16.0


def test_history_inside_a_function():
    """Every third finite step doubles (two counted before it); NaN halves and starts again."""
    finite = [True] * 6 + [False, False] + [True] * 3
    expected = [8.0, 8.0, 16.0, 16.0, 16.0, 32.0, 16.0, 8.0, 8.0, 8.0, 16.0]

    @tf.function
    def step(scale, good_steps, finite):
        return gradients.next_scale(scale, good_steps, finite, increase_every=2)

    state = gradients.LossScale(tf.constant(8.0), tf.constant(0, tf.int64))
    seen = []
    for good in finite:
        state = step(*state, tf.constant(good))
        seen.append(float(state.scale))
    assert seen == expected


def test_variables_are_accepted_as_state():
    scale, good_steps = tf.Variable(4.0), tf.Variable(10, dtype=tf.int64)
    state = gradients.next_scale(scale, good_steps, tf.constant(True), increase_every=10)
    np.testing.assert_array_equal([state.scale, float(state.good_steps)], [8.0, 0.0])
