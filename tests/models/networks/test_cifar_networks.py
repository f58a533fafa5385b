"""The ResNets and DenseNets of CIFAR-10."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.network import Network

PIXEL_MEAN = np.array([125.3, 123.0, 113.9])
PIXEL_STD = np.array([63.0, 62.1, 66.7])
# Blocks a stage, and millions of parameters: He et al., 2015, table 6.
RESNETS = {20: (3, 0.27), 32: (5, 0.46), 44: (7, 0.66), 56: (9, 0.85), 110: (18, 1.7)}
# Layers a block, growth rate, and millions of parameters: Huang et al., 2017, table 2.
DENSENETS = {
    "densenet40_k12": (12, 12, 1.0),
    "densenet100_k12": (32, 12, 7.0),
    "densenet100_k24": (32, 24, 27.2),
}


def build(name: str, **options) -> Network:
    return registry.get(name).build(**{"num_classes": 10, "image_size": 32, **options})


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    """Builds the small networks with random vectors, so that no batch norm is the identity."""
    built = {name: build(name) for name in ("resnet20", "resnet20_v2", "densenet40_k12")}
    generator = np.random.default_rng(1)
    for network in built.values():
        for name, variable in network.variables.items():
            if not name.endswith("kernel"):
                variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return built


def num_parameters(network: Network) -> int:
    return sum(math.prod(network.variables[name].shape) for name in network.trainable)


def resnet_parameters(blocks: int) -> int:
    """Counts the parameters of both versions: their batch norms have as many channels in total."""
    total, inputs = 27 * 16 + 2 * 16, 16
    for filters in (16, 32, 64):
        for _ in range(blocks):
            total += 9 * inputs * filters + 9 * filters * filters + 4 * filters
            inputs = filters
    return total + 64 * 10 + 10


def densenet_parameters(layers: int, growth: int) -> int:
    total, channels = 27 * 16, 16
    for block in range(3):
        if block > 0:
            total += 2 * channels + channels * channels
        for _ in range(layers):
            total += 2 * channels + 9 * channels * growth
            channels += growth
    return total + 2 * channels + channels * 10 + 10


@pytest.mark.parametrize(
    ("depth", "version"),
    [
        pytest.param(depth, version, marks=[] if depth == 20 else [pytest.mark.slow])
        for depth in RESNETS
        for version in ("", "_v2")
    ],
)
def test_resnets_have_the_published_parameters(networks, depth, version):
    blocks, published = RESNETS[depth]
    name = f"resnet{depth}{version}"
    parameters = num_parameters(networks.get(name) or build(name))
    assert parameters == resnet_parameters(blocks)
    assert parameters / 1e6 == pytest.approx(published, abs=0.05 if depth == 110 else 0.005)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "densenet40_k12" else [pytest.mark.slow])
        for name in DENSENETS
    ],
)
def test_densenets_have_the_published_parameters(networks, name):
    layers, growth, published = DENSENETS[name]
    parameters = num_parameters(networks.get(name) or build(name))
    assert parameters == densenet_parameters(layers, growth)
    assert parameters / 1e6 == pytest.approx(published, abs=0.05)


def test_defaults_are_those_of_tf_cnn_benchmarks():
    for name in (*(f"resnet{depth}{v}" for depth in RESNETS for v in ("", "_v2")), *DENSENETS):
        spec = registry.get(name)
        batch_size = 64 if name in DENSENETS else 128
        assert (spec.image_size, spec.batch_size, spec.learning_rate) == (32, batch_size, 0.1)
        assert not spec.background_class


class Reference:
    """Computes the layers of a network by their names, in evaluation, in plain TensorFlow."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def value(self, name: str) -> tf.Tensor:
        return tf.convert_to_tensor(self.network.variables[f"{self.network.name}/{name}"])

    def convolve(self, x: tf.Tensor, scope: str, stride: int = 1) -> tf.Tensor:
        kernel = self.value(f"{scope}/conv2d/kernel")
        pad = kernel.shape[0] // 2
        padded = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(padded, kernel, stride, "VALID")

    def norm(self, x: tf.Tensor, scope: str) -> tf.Tensor:
        mean, variance, beta, gamma = (
            self.value(f"{scope}/batch_norm/{name}")
            for name in ("moving_mean", "moving_variance", "beta", "gamma")
        )
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)

    def classify(self, x: tf.Tensor) -> tf.Tensor:
        kernel, bias = self.value("head/dense/kernel"), self.value("head/dense/bias")
        return tf.reduce_mean(x, [1, 2]) @ kernel + bias

    def resnet(self, x: tf.Tensor, pre_activation: bool) -> tf.Tensor:
        x = self.convolve(x, "stem")
        if not pre_activation:
            x = tf.nn.relu(self.norm(x, "stem"))
        for stage in (1, 2, 3):
            for block in (1, 2, 3):
                scope, stride = f"stage{stage}/block{block}", 2 if block == 1 and stage > 1 else 1
                before = x
                if pre_activation:
                    x = tf.nn.relu(self.norm(x, f"{scope}/conv1"))
                    before = x if block == 1 else before
                if stride == 2:
                    before = before[:, ::2, ::2]
                    before = tf.concat([before, tf.zeros_like(before)], axis=-1)
                x = self.convolve(x, f"{scope}/conv1", stride)
                x = tf.nn.relu(self.norm(x, f"{scope}/conv{2 if pre_activation else 1}"))
                x = self.convolve(x, f"{scope}/conv2")
                if pre_activation:
                    x += before
                else:
                    x = tf.nn.relu(self.norm(x, f"{scope}/conv2") + before)
        if pre_activation:
            x = tf.nn.relu(self.norm(x, "head"))
        return self.classify(x)

    def densenet(self, x: tf.Tensor) -> tf.Tensor:
        x = self.convolve(x, "stem")
        for block in (1, 2, 3):
            if block > 1:
                scope = f"transition{block - 1}"
                x = self.convolve(tf.nn.relu(self.norm(x, scope)), scope)
                x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
            for layer in range(1, 13):
                scope = f"block{block}/layer{layer}"
                added = self.convolve(tf.nn.relu(self.norm(x, scope)), scope)
                x = tf.concat([x, added], axis=-1)
        return self.classify(tf.nn.relu(self.norm(x, "head")))


@pytest.mark.parametrize("name", ["resnet20", "resnet20_v2", "densenet40_k12"])
def test_logits_equal_a_second_implementation(networks, name):
    network = networks[name]
    images = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3), np.uint8)
    pixels = tf.cast((images - PIXEL_MEAN) / PIXEL_STD, tf.float32)
    reference = Reference(network)
    if name in DENSENETS:
        expected = reference.densenet(pixels)
    else:
        expected = reference.resnet(pixels, pre_activation=name.endswith("v2"))
    logits = network(images, training=False).logits
    assert np.abs(logits[0] - logits[1]).max() > 0.0
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


def test_names(networks):
    names = list(networks["resnet20"].variables)
    norm = ["gamma", "beta", "moving_mean", "moving_variance"]
    stem = ["conv2d/kernel", *(f"batch_norm/{name}" for name in norm)]
    assert names[:5] == [f"resnet20/stem/{name}" for name in stem]
    assert "resnet20/stage3/block3/conv2/conv2d/kernel" in names
    assert not [name for name in names if "shortcut" in name]
    # 19 convolutions and the classifier.
    assert len(networks["resnet20"].decayed) == 20
    assert "densenet40_k12/transition2/conv2d/kernel" in networks["densenet40_k12"].decayed
    assert len(networks["densenet40_k12"].decayed) == 40


def test_initial_values():
    network = build("densenet40_k12")
    kernel = network.variables["densenet40_k12/block3/layer12/conv2d/kernel"].numpy()
    # fan_out = 9 * 12; 47,952 draws.
    assert kernel.std() == pytest.approx(math.sqrt(2.0 / 108.0), rel=0.015)
    kernel = build("resnet20").variables["resnet20/stage3/block3/conv2/conv2d/kernel"].numpy()
    # fan_in = 9 * 64; 36,864 draws.
    assert kernel.std() == pytest.approx(math.sqrt(2.0 / 576.0), rel=0.015)


def test_a_keras_file_restores_the_model(networks, tmp_path):
    network = networks["resnet20"]
    images = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), np.uint8)
    network.keras_model.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(
        loaded(images, training=False), network(images, training=False).logits
    )
