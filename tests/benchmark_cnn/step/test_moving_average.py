"""The moving average against NumPy, and against TF1's own class in graph mode."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.phases import plan as phase_plan
from benchmark_cnn.run import RunPlan
from benchmark_cnn.step import train_state
from common.errors import UsageError
from tests.benchmark_cnn.engine import run_steps
from tests.benchmark_cnn.networks import ArrayData
from tests.benchmark_cnn.step.test_step import GradientNetwork


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


@pytest.mark.parametrize("towers", [1, 2])
def test_it_begins_at_an_epoch(towers):
    """Epochs of 6 steps: from step 4 on (0-based), the decays are 2/11, 3/12, and 0.24 at most."""
    gradients = np.random.default_rng(3).normal(0, 1, (24, 1, 1, 2)).astype(np.float32)
    flags = {"moving_average_decay": 0.24, "moving_average_start_epoch": 0.7}
    for steps in (5, 8):
        _, tensors = run_steps(
            GradientNetwork,
            ArrayData(gradients, np.zeros(24)),
            steps=steps,
            global_batch=4,
            loss_function=GradientNetwork.loss,
            num_gpus=towers,
            optimizer="sgd",
            learning_rate=0.5,
            weight_decay=0.0,
            **flags,
        )
        weights, average = np.zeros(2), np.zeros(2)
        for step in range(steps):
            batch = gradients.reshape(24, 2)[np.arange(4 * step, 4 * step + 4) % 24]
            weights = weights - 0.5 * batch.mean(axis=0, dtype=np.float64)
            decay = 0.0 if step < 4 else min(0.24, (step - 2) / (step + 7))
            average = decay * average + (1 - decay) * weights
        np.testing.assert_allclose(tensors["w"], weights, rtol=1e-6)
        np.testing.assert_allclose(tensors["w/ExponentialMovingAverage"], average, rtol=1e-6)


def test_averages_that_begin_after_the_end_are_refused():
    plan = RunPlan(4, 1, 1, examples_per_epoch=24, warmup_steps=0, total_steps=9)
    assert phase_plan.averages_from(1.4, plan) == 8
    with pytest.raises(
        UsageError, match=r"averages begin after step 9, and the run ends at step 9"
    ):
        phase_plan.averages_from(1.5, plan)
    assert phase_plan.averages_from(0.0, plan) == 0


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
