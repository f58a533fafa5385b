"""Keras' own training of our networks: batch norm moves and freezes as Keras users expect."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.efficientnet_lite import EfficientNetLite0
from models.layers.batch_norm import FusedBatchNorm
from tests.models import small_network, towers

IMAGES = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 3), np.uint8)
LABELS = np.arange(8) % 4
MOMENTUM = 0.9


def fit(model: keras.Model, images: np.ndarray = IMAGES, epochs: int = 1) -> list[float]:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss)
    history = model.fit(images, LABELS, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return history.history["loss"]


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in model.weights}


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {path for path in after if np.any(before[path] != after[path])}


def stem_outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns the inputs of the first batch norm, float64 [N, channels]."""
    kernel = model.get_layer("stem.conv2d").get_weights()[0]
    pixels = (images.astype(np.float32) - 127.0) / 128.0
    outputs = tf.nn.conv2d(pixels, kernel, 2, "SAME").numpy()
    return outputs.astype(np.float64).reshape(-1, outputs.shape[-1])


def test_fit_updates_the_moving_statistics_once_a_step():
    model = small_network.build().keras_model
    outputs = stem_outputs(model, IMAGES)
    fit(model)
    _, _, mean, variance = model.get_layer("stem.batch_norm").get_weights()
    np.testing.assert_allclose(mean, (1.0 - MOMENTUM) * outputs.mean(0), rtol=1e-4, atol=1e-6)
    expected = MOMENTUM + (1.0 - MOMENTUM) * outputs.var(0, ddof=1)
    np.testing.assert_allclose(variance, expected, rtol=1e-4)


def test_a_frozen_layer_keeps_its_weights_and_normalizes_by_its_statistics():
    model = small_network.build().keras_model
    stem = keras.Model(model.inputs[0], model.get_layer("stem.relu").output)
    stem.trainable = False
    before, expected = values(stem), stem(IMAGES, training=False)
    np.testing.assert_array_equal(stem(IMAGES, training=True), expected)
    all_before = values(model)
    fit(model)
    assert moved(before, values(stem)) == set()
    assert moved(all_before, values(model)) == set(all_before) - set(before)
    stem.trainable = True
    assert np.abs(stem(IMAGES, training=True) - expected).max() > 0.1


def test_frozen_batch_norm_alone_stays_while_kernels_train():
    model = small_network.build().keras_model
    norms = [layer for layer in model.layers if isinstance(layer, FusedBatchNorm)]
    for layer in norms:
        layer.trainable = False
    before = values(model)
    fit(model)
    assert len(norms) == 2
    of_norms = {weight.path for layer in norms for weight in layer.weights}
    assert moved(before, values(model)) == set(before) - of_norms


@pytest.mark.slow
def test_towers_of_a_strategy_keep_their_own_statistics_as_keras_own_batch_norm_does():
    with towers.mirrored(2).scope():
        model = small_network.build().keras_model
        images = keras.Input((8, 8, 3))
        norm = keras.layers.BatchNormalization(momentum=MOMENTUM)
        pooled = keras.layers.GlobalAveragePooling2D()(norm(images))
        keras_own = keras.Model(images, keras.layers.Dense(4)(pooled))
    outputs = stem_outputs(model, IMAGES[:4]), stem_outputs(model, IMAGES[4:])
    fit(model)
    fit(keras_own)
    halves = IMAGES[:4].mean((0, 1, 2)), IMAGES[4:].mean((0, 1, 2))
    ours = model.get_layer("stem.batch_norm").moving_mean.value.values
    theirs = norm.moving_mean.value.values
    for tower in (0, 1):
        expected = (1.0 - MOMENTUM) * outputs[tower].mean(0)
        np.testing.assert_allclose(ours[tower], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(theirs[tower], (1.0 - MOMENTUM) * halves[tower], rtol=1e-4)


@pytest.mark.slow
def test_fine_tuning_a_network_of_efficientnet_lite_lowers_its_loss():
    keras.utils.set_random_seed(1)
    patches = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [250, 250, 250]], np.float32)
    images = patches[LABELS, None, None].repeat(32, 1).repeat(32, 2)
    base = EfficientNetLite0(
        weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3)
    )
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(4)(base(inputs)))
    losses = fit(model, images, epochs=12)
    # Chance is log(4) = 1.39.
    assert losses[-1] < min(0.5, losses[0])


def without_a_last_image(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> list[str]:
    """Fits batches of four and of one image on two replicas; returns variables that are not finite.

    The second replica gets no image of the second batch.
    """
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    history = model.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    return [
        weight.path
        for weight in model.weights
        for value in getattr(weight.value, "values", [weight.value])
        if not np.isfinite(value.numpy()).all()
    ]


def test_a_replica_without_an_image_keeps_its_statistics():
    with towers.mirrored(2).scope():
        model = small_network.build().keras_model
    outputs = [stem_outputs(model, IMAGES[first:last]) for first, last in ((0, 2), (2, 4), (4, 5))]
    assert without_a_last_image(model, IMAGES[:5], LABELS[:5]) == []
    norm = model.get_layer("stem.batch_norm")
    means = [(1.0 - MOMENTUM) * part.mean(0) for part in outputs]
    variances = [(1.0 - MOMENTUM) * part.var(0, ddof=1) for part in outputs]
    expected_mean = MOMENTUM * means[0] + means[2], means[1]
    first = MOMENTUM + variances[0], MOMENTUM + variances[1]
    expected_variance = MOMENTUM * first[0] + variances[2], first[1]
    for replica in (0, 1):
        mean = norm.moving_mean.value.values[replica]
        variance = norm.moving_variance.value.values[replica]
        np.testing.assert_allclose(mean, expected_mean[replica], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(variance, expected_variance[replica], rtol=1e-4)


@pytest.mark.slow
def test_efficientnet_lite_has_no_nan_after_a_last_batch_smaller_than_the_replicas():
    with towers.mirrored(2).scope():
        model = EfficientNetLite0(
            weights=None, classes=4, input_shape=(32, 32, 3), classifier_activation=None
        )
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    assert without_a_last_image(model, images, np.arange(5) % 4) == []
