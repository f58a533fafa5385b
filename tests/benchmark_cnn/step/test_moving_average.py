"""The moving average against NumPy, and against TF1's own class in graph mode."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.step import train_state


@pytest.mark.parametrize(
    ("num_updates", "expected"),
    [
        (0, 0.1),
        (1, 2 / 11),
        (10, 11 / 20),
        (89980, 89981 / 89990),
        (89990, 0.9999),
        (10**7, 0.9999),
    ],
)
def test_decay_rises_to_its_ceiling(num_updates, expected):
    decay = train_state.decay_at(tf.constant(num_updates, tf.int64), 0.9999)
    assert decay.dtype == tf.float32
    np.testing.assert_allclose(decay, expected, rtol=1e-7)


def weights_after(updates: int) -> np.ndarray:
    return np.random.default_rng(updates).normal(updates, 2.0, (3, 2)).astype(np.float32)


def test_twenty_updates_equal_numpy():
    average = tf.Variable(weights_after(0))
    expected = weights_after(0).astype(np.float64)

    @tf.function
    def update(value, num_updates):
        train_state.update(average, value, train_state.decay_at(num_updates, 0.6))

    for num_updates in range(1, 21):
        value = weights_after(num_updates)
        decay = np.float64(np.float32(min(0.6, (1 + num_updates) / (10 + num_updates))))
        expected = decay * expected + (1 - decay) * value
        update(tf.constant(value), tf.constant(num_updates, tf.int64))
        np.testing.assert_allclose(average, expected, rtol=1e-6)


def test_equals_tf1_whose_first_average_counts_one_update():
    """The official EfficientNet order: minimize, add one to the global step, then average."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        weights = tf.compat.v1.get_variable(
            "w", initializer=weights_after(0), use_resource=True, trainable=False
        )
        step = tf.compat.v1.get_variable(
            "step", initializer=np.int64(0), use_resource=True, trainable=False
        )
        ema = tf.compat.v1.train.ExponentialMovingAverage(0.9999, num_updates=step)
        fed = tf.compat.v1.placeholder(tf.float32, [3, 2])
        with tf.control_dependencies([weights.assign(fed)]):
            train = step.assign_add(1)
        with tf.control_dependencies([train]):
            apply = ema.apply([weights])
        session.run(tf.compat.v1.global_variables_initializer())
        tf1 = []
        for num_updates in range(1, 21):
            session.run(apply, {fed: weights_after(num_updates)})
            tf1.append(session.run(ema.average(weights)))

    average = tf.Variable(weights_after(0))
    for num_updates in range(1, 21):
        decay = train_state.decay_at(num_updates, 0.9999)
        train_state.update(average, tf.constant(weights_after(num_updates)), decay)
        np.testing.assert_allclose(average, tf1[num_updates - 1], rtol=1e-6, atol=1e-7)


def test_a_variable_is_read_after_its_update_within_a_function():
    """EMA is ordered after the optimizer's update, which the same function makes before it."""
    weights, average = tf.Variable([1.0]), tf.Variable([1.0])

    @tf.function
    def step():
        weights.assign([3.0])
        train_state.update(average, weights, tf.constant(0.5))

    step()
    assert average.numpy() == 2.0
