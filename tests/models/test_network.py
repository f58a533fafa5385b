from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.network import kernels
from tests.models import small_network

IMAGES = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), np.uint8)
STATISTICS = {
    f"small/{scope}/batch_norm/{name}"
    for scope in ("stem", "block")
    for name in ("moving_mean", "moving_variance")
}


def test_variables_are_named_after_layers_in_creation_order():
    network = small_network.build()
    norm = ["gamma", "beta", "moving_mean", "moving_variance"]
    assert list(network.variables) == [
        "small/stem/conv2d/kernel",
        *(f"small/stem/batch_norm/{name}" for name in norm),
        "small/block/depthwise_conv2d/depthwise_kernel",
        *(f"small/block/batch_norm/{name}" for name in norm),
        "small/head/dense/kernel",
        "small/head/dense/bias",
    ]
    assert set(network.variables) - set(network.trainable) == STATISTICS
    assert all(isinstance(variable, tf.Variable) for variable in network.variables.values())


def test_kernels_decay_and_nothing_else():
    decayed = {"a/kernel", "b/depthwise_kernel", "c/pointwise_kernel"}
    others = {"a/bias", "b/gamma", "b/beta", "kernel/beta", "pointwise_kernel/bias"}
    assert kernels(sorted(decayed | others)) == decayed


def test_training_reports_statistics_and_assigns_nothing():
    network = small_network.build()
    before = {name: variable.numpy() for name, variable in network.variables.items()}
    result = network(IMAGES, training=True, seed=tf.constant([1, 2]))
    assert set(result.statistics) == STATISTICS
    for name, variable in network.variables.items():
        np.testing.assert_array_equal(variable, before[name])
    # The stem's convolution in float64, from the definition of batch norm's moving mean.
    kernel = network.variables["small/stem/conv2d/kernel"]
    features = tf.nn.conv2d((IMAGES.astype(np.float32) - 127.0) / 128.0, kernel, 2, "SAME")
    np.testing.assert_allclose(
        result.statistics["small/stem/batch_norm/moving_mean"],
        0.1 * features.numpy().mean((0, 1, 2)),
        rtol=1e-4,
        atol=1e-6,
    )


def test_evaluation_reports_nothing_and_needs_no_seed():
    network = small_network.build()
    first, second = (network(IMAGES, training=False) for _ in range(2))
    assert first.statistics == {}
    assert first.aux_logits is None
    np.testing.assert_array_equal(first.logits, second.logits)


def test_training_without_a_seed_is_an_error():
    with pytest.raises(ValueError, match="needs a seed"):
        small_network.build()(IMAGES, training=True)


def test_the_seed_decides_the_masks():
    network = small_network.build()
    first, again, other = (
        network(IMAGES, training=True, seed=tf.constant(seed)).logits
        for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.0


def test_uint8_and_float_images_give_the_same():
    network = small_network.build()
    np.testing.assert_array_equal(
        network(IMAGES, training=False).logits,
        network(IMAGES.astype(np.float32), training=False).logits,
    )


def test_two_heads_are_logits_and_auxiliary_logits():
    network = small_network.build(auxiliary=True)
    result = network(IMAGES, training=False)
    logits, aux_logits = network.keras_model(IMAGES, training=False)
    np.testing.assert_array_equal(result.logits, logits)
    np.testing.assert_array_equal(result.aux_logits, aux_logits)
    assert np.abs(logits - aux_logits).max() > 0.0


def test_jit_compiled_step_equals_a_plain_one():
    network = small_network.build()
    variables = [network.variables[name] for name in network.trainable]

    def step(images, seed):
        with tf.GradientTape() as tape:
            result = network(images, training=True, seed=seed)
            loss = tf.reduce_sum(result.logits**2)
        return loss, tape.gradient(loss, variables), result.statistics

    arguments = tf.constant(IMAGES), tf.constant([1, 2])
    plain = tf.function(step)(*arguments)
    compiled = tf.function(step, jit_compile=True)(*arguments)
    for actual, wanted in zip(tf.nest.flatten(compiled), tf.nest.flatten(plain), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=1e-4)


def test_channels_first_equals_channels_last():
    first, last = small_network.build(layout="NCHW"), small_network.build()
    for name, variable in first.variables.items():
        variable.assign(last.variables[name])

    def step(network):
        variables = [network.variables[name] for name in network.trainable]
        with tf.GradientTape() as tape:
            result = network(IMAGES, training=True, seed=tf.constant([1, 2]))
            loss = tf.reduce_sum(result.logits**2)
        return result.logits, result.statistics, tape.gradient(loss, variables)

    # TensorFlow's own CPU kernels convolve channels-last images only; XLA's take both.
    compiled = tf.function(lambda: step(first), jit_compile=True, autograph=False)()
    for actual, wanted in zip(tf.nest.flatten(compiled), tf.nest.flatten(step(last)), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=1e-4)


def test_keras_fit_moves_statistics_and_weights():
    network = small_network.build()
    before = {name: variable.numpy() for name, variable in network.variables.items()}
    model = network.keras_model
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    model.fit(IMAGES, np.arange(6) % 4, batch_size=6, verbose=0)
    for name, variable in network.variables.items():
        assert np.abs(variable.numpy() - before[name]).max() > 0.0, name


def test_a_keras_file_restores_the_model(tmp_path):
    network = small_network.build()
    for index, variable in enumerate(network.variables.values()):
        variable.assign(variable + 0.01 * index)
    network.keras_model.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(
        loaded(IMAGES, training=False), network(IMAGES, training=False).logits
    )


def test_summary_counts_the_weights():
    lines: list[str] = []
    small_network.build().keras_model.summary(print_fn=lambda line, **_: lines.append(line))
    # 3*3*3*8 + 3*3*8 + 8*4 + 4 in kernels and bias, 4 * 8 in batch norm; 4 * 8 statistics.
    assert "Trainable params: 356" in "\n".join(lines)
    assert "Non-trainable params: 32" in "\n".join(lines)
