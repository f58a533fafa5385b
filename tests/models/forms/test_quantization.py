"""Fake quantization against NumPy, and networks that train with it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from checkpoints.tensor_roles import RANGE
from common.errors import UsageError
from models import registry
from models.layers.fake_quantization import (
    MOMENTUM,
    ActivationQuantization,
    PixelQuantization,
    rounded_kernel,
)
from models.layers.pixel_normalization import CIFAR10, PLUS_MINUS_ONE
from models.network import Network
from models.networks.efficientnet_lite import PIXEL_RANGE
from tests.benchmark_cnn.engine import EVERYTHING, run_steps
from tests.benchmark_cnn.networks import ArrayData, random_examples
from tests.models import small_network
from tests.models.forms.test_recompute import assert_same, examples, step

RANDOM = np.random.default_rng(0)
MODES = [
    {"num_gpus": 2},
    {"num_gpus": 2, "variable_update": "parameter_server"},
    {"num_gpus": 1, "xla": "step"},
]


def symmetric(kernel: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Rounds to multiples of the largest magnitude over `axes`, divided by 127."""
    kernel = kernel.astype(np.float64)
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / 127
    return np.rint(kernel / scale) * scale


def asymmetric(values: np.ndarray, lower: float, upper: float) -> tuple[np.ndarray, float, float]:
    """Rounds to 256 steps, one of which is 0; returns the ends of the grid, too."""
    scale = (upper - lower) / 255
    zero = np.rint(-lower / scale)
    ends = -zero * scale, (255 - zero) * scale
    return np.rint(np.clip(values, *ends) / scale) * scale, *ends


def rounding_network(**options) -> Network:
    plain = small_network.without_randomness(small_network.build(**options))
    return plain.quantization_aware()


@pytest.mark.parametrize(
    ("shape", "is_depthwise"),
    [((3, 3, 4, 6), False), ((5, 5, 8, 1), True), ((3, 3, 4, 2), True), ((7, 5), False)],
)
def test_each_channel_of_a_kernel_is_rounded_to_127_steps_on_both_sides(shape, is_depthwise):
    kernel = RANDOM.normal(size=shape).astype(np.float32)
    weights = tf.Variable(kernel)
    upstream = RANDOM.normal(size=shape).astype(np.float32)
    with tf.GradientTape() as tape:
        rounded = rounded_kernel(tf.convert_to_tensor(weights), is_depthwise)
        result = tf.reduce_sum(rounded * upstream)
    axes = (0, 1) if is_depthwise else tuple(range(len(shape) - 1))
    np.testing.assert_allclose(rounded, symmetric(kernel, axes), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(tape.gradient(result, weights), upstream)
    np.testing.assert_array_equal(rounded_kernel(tf.zeros(shape), is_depthwise), np.zeros(shape))


def test_rounding_and_folding_commute():
    """What is deployed is the folded kernel, rounded; also where gamma is negative or zero."""
    network = rounding_network()
    for name, variable in network.variables.items():
        if name.endswith(("gamma", "beta", "moving_mean", "kernel")):
            variable.assign(RANDOM.normal(size=variable.shape))
    gamma = network.variables["small/stem/batch_norm/gamma"]
    gamma.assign([0.0, -2.0, *gamma.numpy()[2:]])
    prepared = network.for_inference()
    prepared.update()
    assert len(network.folds) == 3
    for fold, axes in zip(network.folds, [(0, 1, 2), (0, 1), (0,)], strict=True):
        kernel = np.asarray(fold.kernel, np.float64)
        if fold.batch_norm is not None:
            norm = fold.batch_norm
            deviation = np.sqrt(np.asarray(norm.moving_variance) + fold.epsilon)
            scale = np.asarray(norm.gamma) / deviation
            kernel *= scale.reshape(kernel.shape[-2:]) if fold.is_depthwise else scale
        found = prepared._values[id(fold.kernel)].numpy()
        with np.errstate(invalid="ignore"):
            expected = np.nan_to_num(symmetric(kernel, axes))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_activations_are_rounded_and_cut_and_gradients_pass_where_they_are_not_cut():
    layer = ActivationQuantization(name="range")
    layer.build((None, 67))
    lower, upper = -1.3, 2.1
    layer.moments.assign([abs(lower) ** 8, upper**8])
    inputs = np.append(RANDOM.normal(0, 1, 200), 0).astype(np.float32).reshape(3, 67)
    expected, *ends = asymmetric(inputs, lower, upper)
    for training in (False, True):
        variable = tf.Variable(inputs)
        with tf.GradientTape() as tape:
            outputs = layer(tf.convert_to_tensor(variable), training=training)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
        inside = (inputs >= ends[0]) & (inputs <= ends[1])
        np.testing.assert_array_equal(tape.gradient(outputs, variable), inside)
    assert len(np.unique(expected)) > 100
    assert inputs[-1, -1] == expected[-1, -1] == 0
    assert inputs.min() < ends[0]
    assert inputs.max() > ends[1]


def test_the_first_step_is_not_rounded_and_measures_the_ranges():
    network = rounding_network()
    images, seed = RANDOM.uniform(0, 255, (4, 8, 8, 3)).astype(np.float32), tf.constant([1, 2])
    values = {}
    layers = {layer.name: layer for layer in network.keras_model.layers}
    layer = layers["block.batch_norm.quantization"]
    original = layer.call

    def call(inputs, training=False):
        outputs = original(inputs, training=training)
        values["inputs"], values["outputs"] = inputs.numpy(), outputs.numpy()
        return outputs

    layer.call = call
    name = f"small/block/batch_norm/quantization/{RANGE}"
    moments = np.zeros(2)
    for number in range(3):
        statistics = network(images, training=True, seed=seed).statistics
        inputs = values["inputs"]
        if number == 0:
            np.testing.assert_array_equal(values["outputs"], inputs)
        else:
            lower, upper = moments ** (1 / 8)
            rounded, *_ = asymmetric(inputs, -lower, upper)
            np.testing.assert_allclose(values["outputs"], rounded, atol=1e-4)
        ends = np.stack([-inputs.min((1, 2, 3)), inputs.max((1, 2, 3))])
        batch = (np.maximum(ends, 0).astype(np.float64) ** 8).mean(axis=1)
        moments = batch if number == 0 else MOMENTUM * moments + (1 - MOMENTUM) * batch
        np.testing.assert_allclose(statistics[name], moments, rtol=1e-4)
        for statistic, value in statistics.items():
            network.variables[statistic].assign(value)
        images = images[::-1] * 0.9


def test_the_first_step_has_gradients_through_what_is_not_rounded():
    """With kernels that are on their grids already it is a step of the network in float."""
    network = rounding_network()
    for fold in network.folds:
        fold.kernel.assign(rounded_kernel(tf.convert_to_tensor(fold.kernel), fold.is_depthwise))
    batch = examples(6, 8)
    got, expected = step(network, *batch), step(network.float_network, *batch)
    expected[2].update({name: got[2][name] for name in got[2] if name.endswith(RANGE)})
    for mine, theirs in zip(tf.nest.flatten(got), tf.nest.flatten(expected), strict=True):
        # Pixels are in 8 bits on both sides; only their normalization is rounded.
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("pixel_range", [PLUS_MINUS_ONE, CIFAR10, PIXEL_RANGE])
def test_pixels_are_normalized_to_a_known_range(pixel_range):
    layer = PixelQuantization(*pixel_range)
    pixels = np.repeat(np.arange(256, dtype=np.float32), 3).reshape(1, 16, 16, 3)
    mean, std = (np.broadcast_to(value, 3) for value in pixel_range)
    wanted = (pixels - mean) / std
    lower, upper = layer.bounds()
    step_size = (upper - lower) / 255
    assert lower == pytest.approx(wanted.min())
    assert 0 <= upper - wanted.max() < 1.01 * step_size
    found = layer(pixels).numpy()
    np.testing.assert_allclose(found, asymmetric(wanted, lower, upper)[0], atol=1e-5)
    np.testing.assert_allclose(found, wanted, atol=0.51 * step_size)
    if pixel_range == PIXEL_RANGE:  # all pixels are on the grid
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    widest = int(np.argmin(std))
    assert len(np.unique(found[..., widest])) >= 254
    np.testing.assert_array_equal(layer(pixels + 0.3), found)


def test_the_network_in_float_has_the_same_weights():
    network, plain = rounding_network(), small_network.build()
    copy_weights(plain, network)
    images = RANDOM.uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)
    expected = plain(images, training=False).logits
    np.testing.assert_array_equal(network.float_network(images, training=False).logits, expected)


def copy_weights(to: Network, source: Network) -> None:
    for name, variable in to.variables.items():
        variable.assign(source.variables[name])


@functools.cache
def two_steps(**mode):
    """Returns the tensors of a run with everything that an update can be made of."""
    data = ArrayData(*random_examples(48, num_classes=4), num_classes=4)

    def build():
        return rounding_network(sync_batch_norm="xla" not in mode)

    return run_steps(build, data, steps=2, global_batch=16, **{**EVERYTHING, **mode})[1]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(map(str, mode.values())))
def test_any_number_of_towers_has_the_ranges_of_one(mode):
    """Only to 1e-4: rounding turns a last bit of float32 into a step of 8 bits now and then."""
    got, expected = two_steps(**mode), two_steps()
    names = [name for name in expected if RANGE in name]
    assert len(names) == 2 * 5  # with their moving averages
    for name in names:
        assert expected[name].max() > 0
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, err_msg=name)


def test_recomputed_activations_give_the_same_step():
    network, (images, labels) = rounding_network(), examples(6, 8)
    for name, value in network(images, training=True, seed=tf.constant([1, 2])).statistics.items():
        network.variables[name].assign(value)  # from here on activations are rounded
    expected = step(network, images, labels)
    assert_same(step(network.recomputing(), images, labels), expected)


def test_a_network_of_another_image_size_shares_the_ranges():
    spec = registry.get("resnet20")
    network = spec.build(num_classes=5, image_size=16).quantization_aware()
    shared = network.variables
    other = spec.build(num_classes=5, image_size=8, variables=shared).quantization_aware(shared)
    assert other.variables.keys() == network.variables.keys()
    assert all(other.variables[name] is network.variables[name] for name in network.variables)


@pytest.mark.parametrize(
    ("name", "size", "ranges"),
    [("efficientnet_lite0", 32, 60), ("keras_mobilenetv2", 32, 64), ("keras_mobilenet", 32, 29)],
)
def test_every_tensor_of_a_mobile_network_is_rounded_once(name, size, ranges):
    """A convolution each, an addition each, the pooled features; pixels have a known range."""
    network = registry.get(name).build(num_classes=5, image_size=size).quantization_aware()
    convolutions = sum(1 for fold in network.folds)
    additions = sum(type(layer).__name__ == "Add" for layer in network.keras_model.layers)
    assert convolutions + additions + 1 == ranges
    assert sum(variable.endswith(RANGE) for variable in network.variables) == ranges


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("vgg_a", 224, "it is one of TF-Slim"),
        ("resnet20_v2", 32, "no convolution can take in its batch norm stage1/block2/conv1/"),
        ("keras_efficientnetb0", 32, "there is no 8-bit form of its silu"),
        ("densenet40_k12", 32, "no convolution can take in its batch norm"),
    ],
)
def test_other_networks_are_refused_in_one_line(name, size, reason):
    network = registry.get(name).build(num_classes=5, image_size=size)
    with pytest.raises(UsageError) as caught:
        network.quantization_aware()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_16_bits_are_refused():
    network = registry.get("lenet").build(num_classes=5, image_size=8, dtype="bfloat16")
    with pytest.raises(UsageError, match="as conv1/conv2d computes in bfloat16"):
        network.quantization_aware()


def test_a_leaky_relu_is_refused():
    plain = small_network.build()
    relu = next(layer for layer in plain.keras_model.layers if layer.name == "stem.relu")
    relu.negative_slope = 0.1
    with pytest.raises(UsageError, match="leaky ReLU"):
        plain.quantization_aware()
