from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.network import Network

PUBLISHED_PARAMETERS = (4_652_008, 5_416_680, 6_092_072, 8_197_096, 13_006_568)
PUBLISHED_VARIABLES = (247, 322, 322, 367, 457)
# Multiplications of all convolutions and of the classifier, in millions, from the published shapes.
PUBLISHED_MACS = (385.2, 600.2, 859.7, 1383.3, 2553.0)


def build(variant: int = 0, *, image_size: int = 64, num_classes: int = 10, **options) -> Network:
    spec = registry.get(f"efficientnet_lite{variant}")
    return spec.build(num_classes=num_classes, image_size=image_size, **options)


def expected_names(num_blocks: int, scope: str) -> set[str]:
    """Returns the names of an official checkpoint, by the rule of TF1's layer counters."""

    def norm(prefix: str) -> list[str]:
        return [f"{prefix}/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]

    names = ["stem/conv2d/kernel", *norm("stem/tpu_batch_normalization")]
    for index in range(num_blocks):
        block = f"blocks_{index}"
        names += [f"{block}/depthwise_conv2d/depthwise_kernel", f"{block}/conv2d/kernel"]
        names += norm(f"{block}/tpu_batch_normalization")
        names += norm(f"{block}/tpu_batch_normalization_1")
        if index > 0:
            names += [f"{block}/conv2d_1/kernel", *norm(f"{block}/tpu_batch_normalization_2")]
    names += ["head/conv2d/kernel", *norm("head/tpu_batch_normalization")]
    names += ["head/dense/kernel", "head/dense/bias"]
    return {f"{scope}/{name}" for name in names}


@pytest.mark.parametrize(("variant", "num_blocks"), [(0, 16), (1, 21), (2, 21), (3, 24), (4, 30)])
def test_variables_are_those_of_the_official_checkpoints(variant, num_blocks):
    spec = registry.get(f"efficientnet_lite{variant}")
    network = spec.build(num_classes=1000, image_size=spec.image_size)
    assert set(network.variables) == expected_names(num_blocks, f"efficientnet-lite{variant}")
    assert len(network.variables) == PUBLISHED_VARIABLES[variant]
    sizes = [math.prod(network.variables[name].shape) for name in network.trainable]
    assert sum(sizes) == PUBLISHED_PARAMETERS[variant]
    assert multiplications(network) == pytest.approx(PUBLISHED_MACS[variant], abs=0.05)


def multiplications(network: Network) -> float:
    """Returns millions of multiplications: kernel sizes times the positions they are applied at."""
    total = 1280 * 1000
    for layer in network.keras_model.layers:
        if layer.name.endswith(("conv2d", "conv2d_1")):
            places = math.prod(layer.output.shape[1:3])
            total += places * math.prod(layer.weights[0].shape)
    return total / 1e6


def test_shapes_are_those_of_tf1():
    variables = build(num_classes=1000).variables
    scope = "efficientnet-lite0"
    assert variables[f"{scope}/stem/conv2d/kernel"].shape == (3, 3, 3, 32)
    assert variables[f"{scope}/blocks_0/depthwise_conv2d/depthwise_kernel"].shape == (3, 3, 32, 1)
    assert variables[f"{scope}/blocks_0/conv2d/kernel"].shape == (1, 1, 32, 16)
    assert variables[f"{scope}/blocks_3/depthwise_conv2d/depthwise_kernel"].shape == (5, 5, 144, 1)
    assert variables[f"{scope}/blocks_3/conv2d/kernel"].shape == (1, 1, 24, 144)
    assert variables[f"{scope}/blocks_3/conv2d_1/kernel"].shape == (1, 1, 144, 40)
    assert variables[f"{scope}/head/dense/kernel"].shape == (1280, 1000)


def test_weight_decay_is_for_kernels_only():
    network = build()
    endings = {name.rsplit("/", 1)[1] for name in network.decayed}
    assert endings == {"kernel", "depthwise_kernel"}
    # Stem and head, dense, two convolutions in the first block and three in the other 15.
    assert len(network.decayed) == 3 + 2 + 3 * 15
    assert network.decayed <= set(network.trainable)


def reference_logits(network: Network, images: np.ndarray) -> tf.Tensor:
    """Computes EfficientNet-Lite0 in evaluation, from its description, in plain TensorFlow."""

    def value(name: str) -> tf.Tensor:
        return tf.convert_to_tensor(network.variables[f"efficientnet-lite0/{name}"])

    def norm(x: tf.Tensor, prefix: str) -> tf.Tensor:
        mean, variance, beta, gamma = (
            value(f"{prefix}/{name}")
            for name in ("moving_mean", "moving_variance", "beta", "gamma")
        )
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)

    def convolve(x: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        return tf.nn.conv2d(x, value(f"{name}/kernel"), stride, "SAME")

    x = (tf.cast(images, tf.float32) - 127.0) / 128.0
    x = tf.nn.relu6(norm(convolve(x, "stem/conv2d", 2), "stem/tpu_batch_normalization"))
    index = 0
    for repeats, first_stride in ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)):
        for stride in [first_stride, *[1] * (repeats - 1)]:
            block, before, suffix = f"blocks_{index}", x, ["", "_1", "_2"]
            if index > 0:
                x = convolve(x, f"{block}/conv2d")
                x = tf.nn.relu6(norm(x, f"{block}/tpu_batch_normalization{suffix.pop(0)}"))
            kernel = value(f"{block}/depthwise_conv2d/depthwise_kernel")
            x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME")
            x = tf.nn.relu6(norm(x, f"{block}/tpu_batch_normalization{suffix.pop(0)}"))
            x = convolve(x, f"{block}/conv2d_1" if index > 0 else f"{block}/conv2d")
            x = norm(x, f"{block}/tpu_batch_normalization{suffix.pop(0)}")
            if stride == 1 and x.shape == before.shape:
                x += before
            index += 1
    x = tf.nn.relu6(norm(convolve(x, "head/conv2d"), "head/tpu_batch_normalization"))
    return tf.reduce_mean(x, [1, 2]) @ value("head/dense/kernel") + value("head/dense/bias")


@pytest.mark.parametrize("image_size", [64, 75])
def test_logits_equal_a_second_implementation(image_size):
    network = build(image_size=image_size)
    generator = np.random.default_rng(1)
    for name, variable in network.variables.items():
        if not name.endswith("kernel"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    images = generator.integers(0, 256, (2, image_size, image_size, 3), np.uint8)
    logits = network(images, training=False).logits
    assert logits.shape == (2, 10)
    expected = reference_logits(network, images)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, atol=2e-5 * scale)


def test_initial_values():
    network = build(num_classes=1000)
    wide = "efficientnet-lite0/blocks_15/conv2d_1/kernel"
    # fan_out = 1 * 1 * 320; 368,640 draws: the sample std is within 0.4% in 99.9% of all cases.
    kernel = network.variables[wide].numpy()
    assert kernel.std() == pytest.approx(math.sqrt(2.0 / 320.0), rel=0.005)
    # A normal distribution cut at two standard deviations would end there.
    assert np.abs(kernel).max() > 3.0 * math.sqrt(2.0 / 320.0)
    depthwise = "efficientnet-lite0/blocks_12/depthwise_conv2d/depthwise_kernel"
    # fan_out = 5 * 5 * 1; 28,800 draws.
    assert network.variables[depthwise].numpy().std() == pytest.approx(
        math.sqrt(2.0 / 25.0), rel=0.015
    )
    dense = network.variables["efficientnet-lite0/head/dense/kernel"].numpy()
    assert np.abs(dense).max() == pytest.approx(1.0 / math.sqrt(1000.0), rel=1e-3)
    assert dense.std() == pytest.approx(1.0 / math.sqrt(3000.0), rel=0.005)
    few = build(num_classes=4).variables["efficientnet-lite0/head/dense/kernel"].numpy()
    assert np.abs(few).max() == pytest.approx(1.0 / math.sqrt(1000.0), rel=5e-3)
    values = {name.rsplit("/", 1)[1]: [] for name in network.variables}
    for name, variable in network.variables.items():
        values[name.rsplit("/", 1)[1]].append(variable.numpy())
    for ending, expected in (("gamma", 1), ("beta", 0), ("moving_mean", 0), ("bias", 0)):
        assert all(np.all(value == expected) for value in values[ending])
    assert all(np.all(value == 1) for value in values["moving_variance"])


def test_equal_layers_start_with_different_values():
    variables = build().variables
    first, second = (
        variables[f"efficientnet-lite0/blocks_{index}/conv2d/kernel"].numpy() for index in (12, 13)
    )
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] == pytest.approx(0.0, abs=0.02)


def test_dropout_and_stochastic_depth_rates():
    for variant, rate in ((0, 0.2), (1, 0.2), (2, 0.3), (3, 0.3), (4, 0.3)):
        assert build(variant).keras_model.get_layer("head.dropout").rate == rate
    model = build(0).keras_model
    drops = [layer for layer in model.layers if layer.name.endswith(".drop")]
    # Blocks 2, 4, 6, 7, 9, 10, 12, 13 and 14 of 16 add their input.
    assert [layer.name for layer in drops] == [
        f"blocks_{index}.drop" for index in (2, 4, 6, 7, 9, 10, 12, 13, 14)
    ]
    assert drops[-1].keep_probability == pytest.approx(1.0 - 0.2 * 14 / 16)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_variables_and_logits_are_float32_in_every_dtype(dtype):
    network = build(dtype=dtype)
    images = tf.random.stateless_uniform([8, 64, 64, 3], [1, 2], 0, 255)
    with tf.GradientTape() as tape:
        result = network(images, training=True, seed=tf.constant([1, 2]))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.range(8), result.logits)
        loss = tf.reduce_mean(losses)
    assert result.logits.dtype == tf.float32
    assert {variable.dtype for variable in network.variables.values()} == {tf.float32}
    assert {value.dtype for value in result.statistics.values()} == {tf.float32}
    gradients = tape.gradient(loss, [network.variables[name] for name in network.trainable])
    assert {gradient.dtype for gradient in gradients} == {tf.float32}
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    activation = network.keras_model.get_layer("blocks_3.depthwise_relu6")
    assert activation.output.dtype == dtype


def test_half_precision_logits_are_near_float32_ones():
    networks = [build(image_size=64, dtype=dtype) for dtype in ("float32", "bfloat16")]
    for name, variable in networks[1].variables.items():
        variable.assign(networks[0].variables[name])
    images = tf.random.stateless_uniform([4, 64, 64, 3], [1, 2], 0, 255)
    exact, rounded = (network(images, training=False).logits for network in networks)
    assert np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_no_attention_and_no_smooth_activation():
    layers = build().keras_model.layers
    activations = [layer for layer in layers if isinstance(layer, keras.layers.ReLU)]
    assert {layer.max_value for layer in activations} == {6.0}
    # Stem, head, one in the first block and two in the other 15.
    assert len(activations) == 2 + 1 + 2 * 15
    assert not [layer for layer in layers if isinstance(layer, keras.layers.Multiply)]
