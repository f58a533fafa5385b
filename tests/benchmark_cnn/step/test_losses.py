"""Losses against closed forms and NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.objective.losses import cross_entropy
from benchmark_cnn.step import losses


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def smoothed_targets(labels: np.ndarray, num_classes: int, smoothing: float) -> np.ndarray:
    return (1 - smoothing) * np.eye(num_classes)[labels] + smoothing / num_classes


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    return random.normal(0, 3, (6, 11)), random.integers(0, 11, 6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
def test_cross_entropy_and_its_gradient_equal_the_definition(batch, smoothing):
    logits, labels = batch
    targets = smoothed_targets(labels, 11, smoothing)
    expected = -np.mean(np.sum(targets * np.log(softmax(logits)), axis=1))
    expected_gradient = (softmax(logits) - targets) / len(labels)

    tensor = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        loss = cross_entropy(tensor, tf.constant(labels, tf.int32), smoothing)

    assert loss.dtype == tf.float32
    assert loss.shape == []
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, tensor), expected_gradient, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(smoothing):
    loss = cross_entropy(tf.zeros([4, 1001]), tf.constant([0, 1, 500, 1000]), smoothing)
    np.testing.assert_allclose(loss, np.log(1001), rtol=1e-6)


def test_half_precision_logits_are_computed_in_float32():
    # In float16 the log softmax, -20 + log(1 + e^-20), has steps of 1/64.
    logits = tf.constant([[10.0, -10.0, 10.02]], tf.float16)
    exact = np.array([[10.0, -10.0, np.float64(np.float16(10.02))]])
    loss = cross_entropy(logits, tf.constant([1]), 0.0)
    np.testing.assert_allclose(loss, -np.log(softmax(exact))[0, 1], rtol=1e-6)


def test_logits_far_from_zero_do_not_overflow():
    logits = tf.constant([[1000.0, 0.0], [-1000.0, 0.0]])
    loss = cross_entropy(logits, tf.constant([1, 1]), 0.2)
    # Rows: .9*1000 + .1*0 and .1*1000, their mean 500.
    np.testing.assert_allclose(loss, 500.0, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_one_hot_target_is_built(smoothing):
    """The graph holds no OneHot; the label enters through the sparse kernel."""
    graph = tf.function(lambda x, y: cross_entropy(x, y, smoothing)).get_concrete_function(
        tf.TensorSpec([8, 1000], tf.float32), tf.TensorSpec([8], tf.int32)
    )
    kinds = {operation.type for operation in graph.graph.get_operations()}
    assert "SparseSoftmaxCrossEntropyWithLogits" in kinds
    assert not kinds & {"OneHot", "SoftmaxCrossEntropyWithLogits"}


def test_penalty_is_half_the_decay_times_the_sum_of_squares():
    kernel, bias = tf.Variable([[1.0, 2.0], [3.0, 4.0]]), tf.Variable([-5.0])
    with tf.GradientTape() as tape:
        penalty = losses.l2_penalty([kernel, bias], 0.25)
    # 0.5 * 0.25 * (1 + 4 + 9 + 16 + 25) = 55 / 8, all exact in binary.
    assert penalty.numpy() == 6.875
    kernel_gradient, bias_gradient = tape.gradient(penalty, [kernel, bias])
    np.testing.assert_array_equal(kernel_gradient, [[0.25, 0.5], [0.75, 1.0]])
    np.testing.assert_array_equal(bias_gradient, [-1.25])


@pytest.mark.parametrize(("tensors", "decay"), [([], 0.1), ([np.float32([3.0])], 0.0)])
def test_nothing_to_decay_costs_nothing(tensors, decay):
    penalty = losses.l2_penalty(tensors, decay)
    assert penalty.dtype == tf.float32
    assert penalty.numpy() == 0.0


NAMES = ("stem/conv2d/kernel", "blocks_0/depthwise_conv2d/depthwise_kernel", "head/dense/kernel")


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        (None, NAMES),
        ("depthwise", (NAMES[0], NAMES[2])),
        ("^stem|dense", (NAMES[1],)),
        ("kernel", ()),
        ("^kernel", NAMES),
    ],
)
def test_excluded_names_do_not_decay(regex, expected):
    assert losses.decayed_names(frozenset(NAMES), regex) == frozenset(expected)
