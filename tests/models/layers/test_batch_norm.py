from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.forward_pass import forward_pass
from models.layers import target
from models.layers.batch_norm import FusedBatchNorm

EPSILON = 1e-3
MOMENTUM = 0.9


def built(channels: int = 3, **options) -> FusedBatchNorm:
    layer = FusedBatchNorm(MOMENTUM, EPSILON, **options)
    first = layer.data_format == "channels_first"
    layer.build((None, channels, None, None) if first else (None, None, None, channels))
    generator = np.random.default_rng(7)
    for variable in layer.weights:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return layer


def batch(shape=(4, 5, 6, 3)) -> np.ndarray:
    return np.random.default_rng(3).normal(2.0, 3.0, shape).astype(np.float32)


def numpy_batch_norm(layer: FusedBatchNorm, inputs: np.ndarray, d_outputs: np.ndarray):
    """Returns outputs and gradients of inputs, gamma, beta: Ioffe and Szegedy, section 3."""
    inputs, d_outputs = inputs.astype(np.float64), d_outputs.astype(np.float64)
    gamma, beta = layer.gamma.numpy().astype(np.float64), layer.beta.numpy().astype(np.float64)
    axes = (0, 1, 2)
    inverse = 1.0 / np.sqrt(inputs.var(axes) + EPSILON)
    normalized = (inputs - inputs.mean(axes)) * inverse
    d_gamma, d_beta = (d_outputs * normalized).sum(axes), d_outputs.sum(axes)
    num_values = inputs[..., 0].size
    d_inputs = gamma * inverse * (d_outputs - (d_beta + normalized * d_gamma) / num_values)
    return gamma * normalized + beta, d_inputs, d_gamma, d_beta


def gradients(layer, inputs, d_outputs):
    inputs = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    sources = [inputs, layer.gamma.value, layer.beta.value]
    return outputs, tape.gradient(outputs, sources, output_gradients=d_outputs)


def test_forward_and_backward_equal_numpy():
    layer = built()
    inputs = batch()
    d_outputs = np.random.default_rng(5).normal(size=inputs.shape).astype(np.float32)
    outputs, (d_inputs, d_gamma, d_beta) = gradients(layer, inputs, d_outputs)
    expected = numpy_batch_norm(layer, inputs, d_outputs)
    for actual, wanted in zip((outputs, d_inputs, d_gamma, d_beta), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)


def test_moving_variance_takes_the_corrected_variance_as_tf1_did():
    layer = built()
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    inputs = batch((2, 1, 2, 3))
    layer(inputs, training=True)
    np.testing.assert_allclose(
        layer.moving_mean.numpy(), 0.9 * mean + 0.1 * inputs.mean((0, 1, 2)), rtol=1e-5
    )
    # 4 values a channel: divided by 3 the variance is a third larger than divided by 4.
    corrected = inputs.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(
        layer.moving_variance.numpy(), 0.9 * variance + 0.1 * corrected, rtol=1e-5
    )


def test_tf1_fused_batch_norm_returns_the_corrected_variance():
    inputs = batch((2, 1, 2, 3))
    ones = tf.ones([3])
    _, _, variance = tf.compat.v1.nn.fused_batch_norm(inputs, ones, ones, epsilon=EPSILON)
    np.testing.assert_allclose(variance, inputs.var((0, 1, 2), ddof=1), rtol=1e-5)


def test_normalizes_with_moving_statistics_outside_training():
    layer = built()
    inputs = batch()
    scale = layer.gamma.numpy() / np.sqrt(layer.moving_variance.numpy() + EPSILON)
    expected = (inputs - layer.moving_mean.numpy()) * scale + layer.beta.numpy()
    np.testing.assert_allclose(layer(inputs, training=False), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_outputs_equal_those_of_keras(training):
    layer = built()
    twin = keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON)
    twin.build((None, None, None, 3))
    twin.set_weights(layer.get_weights())
    inputs = batch()
    np.testing.assert_allclose(
        layer(inputs, training=training), twin(inputs, training=training), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(layer.moving_mean, twin.moving_mean, rtol=1e-5)


def test_a_frozen_layer_uses_and_keeps_its_moving_statistics():
    layer = built()
    layer.trainable = False
    before = layer.moving_mean.numpy()
    inputs = batch()
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs, training=False))
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("ratio", [0, 30])
def test_compiled_by_xla_it_equals_numpy_also_where_the_mean_is_large(ratio, data_format):
    """XLA's own variance, E[x^2] - E[x]^2, is wrong by a hundredth with a mean of 30 deviations."""
    layer = built(data_format=data_format)
    random = np.random.default_rng(2)
    inputs = random.normal(ratio, 1, (16, 16, 16, 3)).astype(np.float32)
    d_outputs = random.normal(size=inputs.shape).astype(np.float32)
    expected = numpy_batch_norm(layer, inputs, d_outputs)
    old_mean, old_variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    to, back = (0, 1, 2, 3), (0, 1, 2, 3)
    if data_format == "channels_first":
        to, back = (0, 3, 1, 2), (0, 2, 3, 1)

    @tf.function(jit_compile=True, autograph=False)
    def compiled(inputs, d_outputs):
        assert target.is_compiled()
        with tf.GradientTape() as tape, forward_pass(None) as current:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        sources = [inputs, layer.gamma.value, layer.beta.value]
        mean, variance = (
            current.statistics[id(v)] for v in (layer.moving_mean, layer.moving_variance)
        )
        return outputs, *tape.gradient(outputs, sources, output_gradients=d_outputs), mean, variance

    arguments = (tf.constant(inputs.transpose(to)), tf.constant(d_outputs.transpose(to)))
    outputs, d_inputs, *vectors, mean, variance = (part.numpy() for part in compiled(*arguments))
    found = (outputs.transpose(back), d_inputs.transpose(back), *vectors)
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=3e-5 * np.abs(wanted).max())
    inputs = inputs.astype(np.float64)
    moved = 0.9 * old_mean + 0.1 * inputs.mean((0, 1, 2))
    np.testing.assert_allclose(mean, moved, rtol=1e-6)
    moved = 0.9 * old_variance + 0.1 * inputs.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(variance, moved, rtol=1e-5)


def test_a_constant_channel_stays_finite_in_xla():
    """A variance of -0.002 made it NaN."""
    layer = built(16)
    outputs = tf.function(layer, jit_compile=True, autograph=False)(
        tf.fill([32, 32, 32, 16], 3.3), training=True
    )
    np.testing.assert_allclose(outputs, np.broadcast_to(layer.beta, outputs.shape), atol=1e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 3e-2), ("float16", 4e-3)])
def test_16_bit_inputs_keep_float32_variables_and_statistics(dtype, tolerance):
    layer = built(dtype=f"mixed_{dtype}")
    # Rounded first, so that only the arithmetic differs between the two.
    inputs = tf.cast(batch(), dtype)
    d_outputs = tf.cast(np.random.default_rng(5).normal(size=inputs.shape), dtype)
    exact = tf.cast(inputs, tf.float32).numpy()
    outputs, (d_inputs, d_gamma, d_beta) = gradients(layer, inputs, d_outputs)
    assert outputs.dtype == d_inputs.dtype == dtype
    assert d_gamma.dtype == d_beta.dtype == tf.float32
    assert {variable.dtype for variable in layer.weights} == {"float32"}
    expected = numpy_batch_norm(layer, exact, tf.cast(d_outputs, tf.float32).numpy())
    for actual, wanted in zip((outputs, d_inputs, d_gamma, d_beta), expected, strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(tf.cast(actual, tf.float32), wanted, atol=tolerance * scale)
    with forward_pass(None) as current:
        layer(inputs, training=True)
    variance = current.statistics[id(layer.moving_variance)]
    wanted = 0.9 * layer.moving_variance.numpy() + 0.1 * exact.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(variance, wanted, rtol=1e-3)


def test_channels_first_equals_channels_last():
    inputs = batch()
    last, first = built(), built(data_format="channels_first")
    transposed = np.transpose(inputs, (0, 3, 1, 2))
    for training in (True, False):
        expected = np.transpose(last(inputs, training=training), (0, 3, 1, 2))
        actual = first(transposed, training=training)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_without_scale_gamma_is_one_and_no_variable():
    layer = built(scale=False)
    assert [variable.name for variable in layer.weights] == [
        "beta",
        "moving_mean",
        "moving_variance",
    ]
    outputs = layer(batch(), training=True).numpy()
    np.testing.assert_allclose(outputs.std((0, 1, 2)), np.ones(3), rtol=1e-3)


def test_in_a_network_call_statistics_are_reported_not_assigned():
    layer = built()
    before = layer.moving_mean.numpy()
    inputs = batch()
    with forward_pass(None) as current:
        layer(inputs, training=True)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)
    expected = 0.9 * before + 0.1 * inputs.mean((0, 1, 2))
    np.testing.assert_allclose(current.statistics[id(layer.moving_mean)], expected, rtol=1e-5)


def test_a_layer_called_twice_reports_both_batches():
    layer = built()
    old = layer.moving_mean.numpy()
    inputs = batch()
    with forward_pass(None) as current:
        layer(inputs, training=True)
        layer(inputs + 1.0, training=True)
    mean = inputs.mean((0, 1, 2))
    expected = 0.9 * (0.9 * old + 0.1 * mean) + 0.1 * (mean + 1.0)
    np.testing.assert_allclose(current.statistics[id(layer.moving_mean)], expected, rtol=1e-5)


def test_configuration_survives_serialization():
    layer = built(scale=False, data_format="channels_first", synchronized=True, name="norm")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert isinstance(copy, FusedBatchNorm)
    assert copy.get_config() == layer.get_config()
    assert (copy.momentum, copy.epsilon, copy.synchronized) == (MOMENTUM, EPSILON, True)


def test_an_unknown_layout_is_an_error():
    with pytest.raises(ValueError, match="data_format must be one of channels_last"):
        FusedBatchNorm(data_format="NHWC")


def test_jit_compiled_equals_plain():
    layer = built()
    inputs = batch()

    def call(inputs):
        with forward_pass(None) as current:
            outputs = layer(inputs, training=True)
        return outputs, current.statistics[id(layer.moving_variance)]

    plain = call(tf.constant(inputs))
    compiled = tf.function(call, jit_compile=True, autograph=False)(tf.constant(inputs))
    for actual, wanted in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_a_frozen_layer_of_a_deterministic_run_on_gpus_equals_the_kernel(monkeypatch, layout):
    layer = built(data_format=layout)
    inputs = tf.constant(batch())

    def results(transposes):
        with tf.GradientTape() as tape, forward_pass(None, frozenset([id(layer.moving_mean)])):
            tape.watch(inputs)
            given = tf.transpose(inputs, [0, 3, 1, 2]) if transposes else inputs
            outputs = layer(given, training=True)
            outputs = tf.transpose(outputs, [0, 2, 3, 1]) if transposes else outputs
            loss = tf.reduce_sum(outputs**3)
        variables = [layer.gamma.value, layer.beta.value]
        return outputs, *tape.gradient(loss, [inputs, *variables])

    monkeypatch.setattr(layer, "layout", "NHWC")
    expected = results(False)
    monkeypatch.undo()
    monkeypatch.setattr(target, "is_deterministic", lambda: True)
    with target.assume_gpu():
        found = results(layout == "channels_first")
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
