"""Batch norm within the convolutions: the values of NumPy, and the network's own answers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.network import Network
from tests.exporters.conftest import random_values
from tests.models import small_network, towers
from tests.models.test_all_networks import IMAGE_SIZES, SMALL_IMAGE_SIZE

QUICK = ("efficientnet_lite0", "resnet20", "mobilenet_v1_relu")
# Batch norms, and those behind a convolution that nothing else reads.
NUMBERS = {
    "efficientnet_lite0": (49, 49),
    "resnet50": (53, 53),
    "resnet20": (19, 19),
    "resnet20_v2": (19, 9),  # the second one of a block
    "inception_v2": (68, 68),  # one behind a separable convolution
    "mobilenet_v1_relu": (27, 27),
    "mobilenet_v2_orig": (52, 52),
    "resnet_v2_50": (49, 32),  # conv1 and conv2 of 16 blocks
    "keras_mobilenet": (27, 27),
    "lenet": (0, 0),
}
WITH_BATCH_NORM = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in registry.names()
    if not name.startswith(("alexnet", "googlenet", "keras_convnext", "overfeat", "vgg"))
    and name not in ("lenet", "trivial")
]


def build(name: str, **options) -> Network:
    """A network with random weights and random statistics of batch norm."""
    image_size = IMAGE_SIZES.get(name, SMALL_IMAGE_SIZE)
    network = registry.get(name).build(num_classes=10, image_size=image_size, **options)
    return with_random_values(network)


def with_random_values(network: Network) -> Network:
    random = np.random.default_rng(0)
    for name, variable in network.variables.items():
        variable.assign(random_values(random, name, variable.shape.as_list()))
    return network


def images_for(name: str, count: int = 3) -> tf.Tensor:
    side = IMAGE_SIZES.get(name, SMALL_IMAGE_SIZE)
    pixels = np.random.default_rng(1).uniform(0, 255, [count, side, side, 3])
    return tf.constant(pixels.astype(np.float32))


def unfolded(network: Network):
    """Returns the network as a function to logits."""
    return tf.function(lambda images: network(images, training=False).logits, autograph=False)


def largest_change(found: np.ndarray, wanted: np.ndarray) -> float:
    """Relative to the largest logit."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def change_by_rounding(network: Network, answer, images: tf.Tensor, draws: int = 2) -> float:
    """The largest change of `answer(images)` when every weight becomes one of its neighbors."""
    random, wanted = np.random.default_rng(2), answer(images).numpy()
    kept = {name: variable.numpy() for name, variable in network.variables.items()}
    changes = []
    for _ in range(draws):
        for name, value in kept.items():
            towards = np.where(random.random(value.shape) < 0.5, -np.inf, np.inf)
            network.variables[name].assign(np.nextafter(value, towards.astype(np.float32)))
        changes.append(largest_change(answer(images).numpy(), wanted))
    for name, value in kept.items():
        network.variables[name].assign(value)
    return max(changes)


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
def test_every_network_answers_the_same(name):
    """Within 1e-6, or twice what a change of the weights in their last bits changes.

    Each weight is NumPy's, rounded once: nothing but rounding is left to differ.
    """
    network = build(name)
    if not network.folds:
        pytest.skip("batch norm comes before the convolutions")
    folded = network.for_inference()
    folded.update()
    for fold, (kernel, _, arguments) in zip(network.folds, folded.updates(), strict=True):
        assert_is_numpys(fold, kernel.numpy(), arguments)
    images = images_for(name)
    found = tf.function(folded, autograph=False)(images).numpy()
    assert np.ptp(found, axis=0).max() > 1e-3
    answer = unfolded(network)
    difference = largest_change(found, answer(images).numpy())
    limit = max(1e-6, 2 * change_by_rounding(network, answer, images))
    print(f"{name}: {difference:.1e}, limit {limit:.1e}")
    assert limit < 1e-4
    assert difference <= limit


def assert_is_numpys(fold, kernel: np.ndarray, arguments: tuple) -> None:
    gamma, beta, mean, variance, original, bias = (
        1.0 if variable is None else tf.convert_to_tensor(variable).numpy().astype(np.float64)
        for variable in (*fold.batch_norm, fold.kernel, fold.bias)
    )
    scale = gamma / np.sqrt(variance + fold.epsilon)
    if fold.is_depthwise:
        # Filter j of input i makes output i * multiplier + j.
        inputs, multiplier = original.shape[2:]
        wanted = np.empty_like(original)
        for i in range(inputs):
            for j in range(multiplier):
                wanted[:, :, i, j] = original[:, :, i, j] * scale[i * multiplier + j]
    else:
        wanted = original * scale
    np.testing.assert_allclose(kernel, wanted, rtol=1.2e-7)
    offset, scaled_bias = arguments[2:4]
    np.testing.assert_allclose(offset.numpy(), beta - mean * scale, rtol=1.2e-7)
    assert (scaled_bias is None) == (fold.bias is None)
    if fold.bias is not None:
        np.testing.assert_allclose(scaled_bias.numpy(), bias * scale, rtol=1.2e-7)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in (*QUICK, "lenet") else [pytest.mark.slow]) for n in NUMBERS],
)
def test_all_batch_norms_behind_a_convolution_are_taken_in(name):
    network = registry.get(name).build(
        num_classes=10, image_size=IMAGE_SIZES.get(name, SMALL_IMAGE_SIZE)
    )
    number = sum(variable.endswith("moving_mean") for variable in network.variables)
    assert (number, len(network.folds)) == NUMBERS[name]


def test_a_convolution_that_something_else_reads_is_left_alone():
    """The addition reads the convolution as it is."""
    import keras

    from models.model_spec import BuildConfig

    config = BuildConfig("branches", 4, 8)
    factory = config.layers()
    images = keras.Input((8, 8, 3), name="images")
    convolved = factory.convolution("conv2d", 3, 3)(images)
    normalized = factory.batch_norm("batch_norm")(convolved)
    features = factory.add("add")([normalized, convolved])
    logits = factory.classifier("dense", 4)(factory.flatten("flatten")(features))
    assert config.network(images, logits).folds == []


@pytest.mark.parametrize("batch_size", [1, 8])
def test_any_number_of_images_on_any_number_of_towers(batch_size):
    for make, count in ((towers.mirrored, 1), (towers.mirrored, 2), (towers.central_storage, 2)):
        strategy = make(count)
        with strategy.scope():
            network = with_random_values(small_network.build())
            folded = network.for_inference()
        for variable, function, arguments in folded.updates():
            strategy.extended.update(variable, function, args=arguments)
        random = np.random.default_rng(3)
        images = random.uniform(0, 255, [batch_size * count, 8, 8, 3]).astype(np.float32)
        results = towers.run(
            strategy,
            lambda images: [folded(images), network(images, training=False).logits],  # noqa: B023
            towers.split(strategy, images),
        )
        for found, wanted in results:
            assert largest_change(found.numpy(), wanted.numpy()) <= 1e-6


def test_weights_are_taken_at_each_update():
    network = with_random_values(small_network.build())
    images = tf.random.stateless_uniform([2, 8, 8, 3], [1, 2], 0, 255)
    folded = network.for_inference()
    folded.update()
    before = folded(images).numpy()
    for name, variable in network.variables.items():
        if "dense" not in name:
            variable.assign(variable * 1.5)
    np.testing.assert_array_equal(folded(images), before)
    folded.update()
    wanted = network(images, training=False).logits.numpy()
    assert largest_change(before, wanted) > 0.1
    assert largest_change(folded(images).numpy(), wanted) <= 1e-6


def test_in_16_bits_it_is_nearer_to_float32_than_the_network():
    """The outputs of a convolution are no longer rounded before the batch norm."""
    name, images = "efficientnet_lite0", images_for("efficientnet_lite0", 8)
    wanted = unfolded(build(name))(images).numpy()
    network = build(name, dtype="bfloat16")
    folded = network.for_inference()
    folded.update()
    assert {variable.dtype for variable in folded.variables} == {tf.bfloat16}
    errors = [
        np.sqrt(np.mean((answer(images).numpy() - wanted) ** 2)) / np.std(wanted)
        for answer in (tf.function(folded, autograph=False), unfolded(network))
    ]
    assert errors[0] < errors[1] < 0.1
