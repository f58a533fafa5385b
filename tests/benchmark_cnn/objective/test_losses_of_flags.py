"""The losses against Keras', timm's formula in NumPy, closed forms and finite differences."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.interfaces import MixedLabels
from benchmark_cnn.objective.losses import BCE, FOCAL, SOFTMAX, Loss

CLASSES = 7
RANDOM = np.random.default_rng(11)
LOGITS = RANDOM.normal(0, 3, (6, CLASSES))
FIRST, SECOND = RANDOM.integers(0, CLASSES, (2, 6))
SHARES = np.array([0, 0.25, 0.5, 0.8125, 1, 0.3])
SEVERAL = RANDOM.integers(0, 2, (6, CLASSES)).astype(np.float32)
WEIGHTS = RANDOM.uniform(0.1, 3, CLASSES)
ALL = [Loss(SOFTMAX), Loss(BCE), Loss(FOCAL, 2.0), Loss(FOCAL, 0.5)]


def of_each(loss, logits=LOGITS, labels=FIRST, dtype=tf.float64):
    labels = tf.constant(labels, tf.float32 if np.ndim(labels) == 2 else tf.int32)
    return loss.of_each_example(tf.constant(logits), labels, dtype).numpy()


def mixed():
    parts = (tf.constant(FIRST, tf.int32), tf.constant(SECOND, tf.int32))
    return MixedLabels(*parts, tf.constant(SHARES, tf.float32))


def one_hot(labels):
    return np.eye(CLASSES)[labels]


def test_bce_is_timms_mean_over_one_hot_targets():
    """Targets 1 - e + e / C and e / C; the mean over examples and classes."""
    target = 0.9 * one_hot(FIRST) + 0.1 / CLASSES
    p = 1 / (1 + np.exp(-LOGITS))
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean(1)
    np.testing.assert_allclose(of_each(Loss(BCE, smoothing=0.1)), expected, rtol=1e-12)


def test_bce_of_mixed_labels_is_that_of_the_mixed_targets():
    target = SHARES[:, None] * one_hot(FIRST) + (1 - SHARES[:, None]) * one_hot(SECOND)
    expected = keras.losses.BinaryCrossentropy(from_logits=True, reduction=None)(target, LOGITS)
    got = Loss(BCE).of_each_example(tf.constant(LOGITS, tf.float32), mixed())
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("several", [False, True])
def test_bce_with_a_threshold_is_timms(threshold, several):
    """Shares above the threshold become 1; an image may be mixed with one of its own class."""
    first, second = (SEVERAL, SEVERAL[::-1]) if several else (one_hot(FIRST), one_hot(SECOND))
    target = SHARES[:, None] * first + (1 - SHARES[:, None]) * second > threshold
    p = 1 / (1 + np.exp(-LOGITS))
    expected = -np.where(target, np.log(p), np.log(1 - p)).mean(1)
    parts = [tf.constant(part, tf.float32) for part in (first, second)]
    labels = MixedLabels(*parts, tf.constant(SHARES, tf.float32)) if several else mixed()
    loss = Loss(BCE, threshold=threshold)
    got = loss.of_each_example(tf.constant(LOGITS), labels, tf.float64)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert str(loss).endswith(f"targets of 1 above a share of {threshold:g}")
    assert loss.unweighted() == Loss(BCE)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_of_several_labels_is_keras(smoothing):
    keras_loss = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction=None
    )
    got = of_each(Loss(BCE, smoothing=smoothing), labels=SEVERAL)
    np.testing.assert_allclose(got, keras_loss(SEVERAL, LOGITS), rtol=1e-5)


@pytest.mark.parametrize(("gamma", "smoothing"), [(2.0, 0.0), (2.0, 0.1), (0.5, 0.0), (3.5, 0.2)])
def test_focal_loss_is_keras(gamma, smoothing):
    """Keras multiplies by an alpha that is the same for all classes; and clips at 1e-7."""
    keras_loss = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=gamma, from_logits=True, label_smoothing=smoothing, reduction=None
    )
    logits = LOGITS / 3
    got = of_each(Loss(FOCAL, gamma, smoothing), logits)
    np.testing.assert_allclose(got, keras_loss(one_hot(FIRST), logits), rtol=1e-5)


def test_focal_loss_of_mixed_labels_is_keras_of_the_mixed_targets():
    target = SHARES[:, None] * one_hot(FIRST) + (1 - SHARES[:, None]) * one_hot(SECOND)
    keras_loss = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, from_logits=True, reduction=None
    )
    logits = tf.constant(LOGITS / 3, tf.float32)
    got = Loss(FOCAL, 2.0).of_each_example(logits, mixed())
    np.testing.assert_allclose(got, keras_loss(target, logits), rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_several_labels_is_keras(gamma):
    keras_loss = keras.losses.BinaryFocalCrossentropy(gamma=gamma, from_logits=True, reduction=None)
    got = of_each(Loss(FOCAL, gamma), LOGITS / 3, SEVERAL)
    np.testing.assert_allclose(got, keras_loss(SEVERAL, LOGITS / 3), rtol=1e-5)


def test_focal_loss_with_gamma_0_is_the_cross_entropy():
    np.testing.assert_allclose(of_each(Loss(FOCAL, 0.0)), of_each(Loss(SOFTMAX)), rtol=1e-12)
    np.testing.assert_allclose(
        of_each(Loss(FOCAL, 0.0), labels=SEVERAL), of_each(Loss(BCE), labels=SEVERAL), rtol=1e-12
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("loss", "labels"), [*((loss, FIRST) for loss in ALL), *((loss, SEVERAL) for loss in ALL[1:])]
)
def test_gradients_are_finite_differences(loss, labels, smoothing):
    loss = Loss(loss.name, loss.gamma, smoothing, None if labels is SEVERAL else WEIGHTS)
    tensor = tf.constant(LOGITS)
    labels_tensor = tf.constant(labels, tf.float32 if labels is SEVERAL else tf.int32)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        total = tf.reduce_sum(loss.of_each_example(tensor, labels_tensor, tf.float64))
    gradient = tape.gradient(total, tensor).numpy()
    step = 1e-5
    for place in itertools.product(range(6), range(CLASSES)):
        shift = np.zeros_like(LOGITS)
        shift[place] = step
        up, down = (of_each(loss, LOGITS + sign * shift, labels).sum() for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32], ids=lambda d: d.name)
@pytest.mark.parametrize(
    ("loss", "labels"),
    [*((loss, [0, 1]) for loss in ALL), *((loss, np.eye(2, dtype="f")) for loss in ALL[1:])],
)
def test_far_logits_have_finite_losses_and_slopes(loss, labels, dtype):
    """Right and wrong by 1,000; the wrong one's slope tells the network where to go."""
    logits = tf.constant([[1000.0, -1000.0], [1000.0, -1000.0]], dtype)
    labels = tf.constant(labels)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = loss.of_each_example(logits, labels)
    gradient = tape.gradient(losses, logits).numpy().astype(float)
    assert losses.dtype == tf.float32
    # A softmax sees the difference of the logits; sigmoids see each, and take the mean.
    softmax = loss.name == SOFTMAX or (loss.name == FOCAL and labels.shape.rank == 1)
    np.testing.assert_allclose(losses, [0, 2000 if softmax else 1000], atol=1e-3, rtol=1e-6)
    expected = [[0, 0], [1, -1] if softmax else [0.5, -0.5]]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("loss", ALL, ids=str)
def test_a_weight_multiplies_the_loss_of_its_label(loss):
    smoothed = Loss(loss.name, loss.gamma, 0.1)
    weighted = Loss(loss.name, loss.gamma, 0.1, WEIGHTS)
    np.testing.assert_allclose(of_each(weighted), WEIGHTS[FIRST] * of_each(smoothed), rtol=1e-12)
    got = weighted.of_each_example(tf.constant(LOGITS), mixed(), tf.float64)
    shares = SHARES.astype(np.float32)
    first, second = (WEIGHTS[part] * of_each(smoothed, labels=part) for part in (FIRST, SECOND))
    np.testing.assert_allclose(got, shares * first + (1 - shares) * second, rtol=1e-12)


def test_a_weight_of_three_is_an_example_that_is_there_three_times():
    weights = np.ones(CLASSES)
    weights[FIRST[0]] = 3
    repeated = np.repeat(np.arange(6), np.where(FIRST[0] == FIRST, 3, 1))
    total = of_each(Loss(BCE, weights=weights)).sum()
    assert total == pytest.approx(of_each(Loss(BCE), LOGITS[repeated], FIRST[repeated]).sum())


def test_an_evaluation_has_neither_weights_nor_smoothing():
    loss = Loss(FOCAL, 1.5, 0.1, WEIGHTS, "class weights balanced")
    assert loss.unweighted() == Loss(FOCAL, 1.5)
    assert str(loss) == "focal, gamma 1.5; label smoothing 0.1; class weights balanced"
    assert str(loss.unweighted()) == "focal, gamma 1.5"
