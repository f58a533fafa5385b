from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.model_spec import BuildConfig
from models.network import Network
from models.networks import resnet


def build(**options) -> Network:
    return registry.get("resnet50").build(**{"num_classes": 10, "image_size": 64, **options})


@pytest.fixture(scope="module")
def imagenet_network() -> Network:
    return build(num_classes=1000, image_size=224)


def test_parameters_are_the_published_number(imagenet_network):
    network = imagenet_network
    sizes = [math.prod(network.variables[name].shape) for name in network.trainable]
    # He et al.'s ResNet-50 with batch norm, as counted by torchvision and keras.applications.
    assert sum(sizes) == 25_557_032
    # 53 convolutions with a batch norm each, and the classifier.
    assert len(network.variables) == 53 * 5 + 2
    assert len(network.decayed) == 54


def test_multiplications_are_those_of_version_1_5(imagenet_network):
    model = imagenet_network.keras_model
    total = 1000 * 2048
    for layer in model.layers:
        if layer.name.endswith("conv2d"):
            total += math.prod(layer.output.shape[1:3]) * math.prod(layer.weights[0].shape)
    # torchvision states 4.09 GFLOPS; with the stride in the first 1x1 it would be 3.86.
    assert total / 1e9 == pytest.approx(4.09, abs=0.005)


def test_names(imagenet_network):
    network = imagenet_network
    norm = ["gamma", "beta", "moving_mean", "moving_variance"]
    stem = ["conv2d/kernel", *(f"batch_norm/{name}" for name in norm)]
    names = list(network.variables)
    assert names[:5] == [f"resnet50/stem/{name}" for name in stem]
    assert names[-2:] == ["resnet50/head/dense/kernel", "resnet50/head/dense/bias"]
    scopes = {name.split("/")[1] + "/" + name.split("/")[2] for name in names if "block" in name}
    assert scopes == {
        f"stage{stage}/block{block}"
        for stage, count in ((1, 3), (2, 4), (3, 6), (4, 3))
        for block in range(1, count + 1)
    }
    shortcuts = [name for name in names if name.endswith("shortcut/conv2d/kernel")]
    assert shortcuts == [f"resnet50/stage{n}/block1/shortcut/conv2d/kernel" for n in (1, 2, 3, 4)]
    assert network.variables["resnet50/stage2/block1/conv2/conv2d/kernel"].shape == (3, 3, 128, 128)


def reference_logits(network: Network, images: np.ndarray) -> tf.Tensor:
    """Computes ResNet-50 v1.5 in evaluation in plain TensorFlow."""

    def value(name: str) -> tf.Tensor:
        return tf.convert_to_tensor(network.variables[f"resnet50/{name}"])

    def convolve(x: tf.Tensor, scope: str, stride: int = 1) -> tf.Tensor:
        kernel = value(f"{scope}/conv2d/kernel")
        pad = kernel.shape[0] // 2
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        x = tf.nn.conv2d(x, kernel, stride, "VALID")
        mean, variance, beta, gamma = (
            value(f"{scope}/batch_norm/{name}")
            for name in ("moving_mean", "moving_variance", "beta", "gamma")
        )
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = tf.cast((images / 255.0 - mean) / std, tf.float32)
    x = tf.nn.relu(convolve(x, "stem", 2))
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-1e30)
    x = tf.nn.max_pool2d(padded, 3, 2, "VALID")
    for stage, count in ((1, 3), (2, 4), (3, 6), (4, 3)):
        for block in range(1, count + 1):
            scope = f"stage{stage}/block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            shortcut = convolve(x, f"{scope}/shortcut", stride) if block == 1 else x
            x = tf.nn.relu(convolve(x, f"{scope}/conv1"))
            x = tf.nn.relu(convolve(x, f"{scope}/conv2", stride))
            x = tf.nn.relu(convolve(x, f"{scope}/conv3") + shortcut)
    return tf.reduce_mean(x, [1, 2]) @ value("head/dense/kernel") + value("head/dense/bias")


def test_logits_equal_a_second_implementation():
    network = build()
    generator = np.random.default_rng(1)
    for name, variable in network.variables.items():
        if not name.endswith("kernel"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    images = generator.integers(0, 256, (2, 64, 64, 3), np.uint8)
    logits = network(images, training=False).logits
    expected = reference_logits(network, images)
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


def test_blocks_start_as_the_identity_unless_asked_otherwise(imagenet_network):
    def gammas(network: Network, ending: str) -> set[float]:
        return {
            value
            for name, variable in network.variables.items()
            if name.endswith(ending)
            for value in variable.numpy()
        }

    network = imagenet_network
    assert gammas(network, "conv3/batch_norm/gamma") == {0.0}
    for ending in ("conv1/batch_norm/gamma", "conv2/batch_norm/gamma", "shortcut/batch_norm/gamma"):
        assert gammas(network, ending) == {1.0}
    config = BuildConfig("resnet14", num_classes=10, image_size=32)
    plain = resnet.build(config, blocks=(1, 1, 1, 1), zero_init_residual=False)
    assert gammas(plain, "gamma") == {1.0}


def test_initial_values(imagenet_network):
    network = imagenet_network
    kernel = network.variables["resnet50/stage4/block2/conv2/conv2d/kernel"].numpy()
    # He initialization: std sqrt(2 / fan_in), fan_in = 3 * 3 * 512.
    assert kernel.std() == pytest.approx(math.sqrt(2.0 / 4608.0), rel=0.005)
    assert network.variables["resnet50/head/dense/kernel"].numpy().std() == pytest.approx(
        0.01, rel=0.005
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_variables_and_logits_are_float32_in_16_bits(dtype):
    network = build(image_size=32, dtype=dtype)
    images = tf.random.stateless_uniform([2, 32, 32, 3], [1, 2], 0, 255)
    result = network(images, training=True)
    assert result.logits.dtype == tf.float32
    assert np.all(np.isfinite(result.logits))
    assert {variable.dtype for variable in network.variables.values()} == {tf.float32}
    assert len(result.statistics) == 2 * 53
