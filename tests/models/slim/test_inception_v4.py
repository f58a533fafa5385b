"""Inception v4 against its paper: names and shapes, feature maps, multiply-adds, outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.cost import cost
from models.network import Network
from models.slim.arg_scopes import INCEPTION_BATCH_NORM
from tests.models.slim.slim_reference import differences, make_images_matter, parts, patches

NORM = ("beta", "moving_mean", "moving_variance")
IMAGE_SIZE = 299


def build(**options: int) -> Network:
    return registry.get("inception_v4").build(**options)


def _kernels() -> dict[str, tuple[int, int, int, int]]:
    """Returns the shapes of all kernels: Szegedy et al., 2016, figures 3 to 9."""
    kernels: dict[str, tuple[int, int, int, int]] = {}

    def chain(scope: str, inputs: int, *layers: tuple[str, int]) -> None:
        for layer, filters in layers:
            height, width = (int(side) for side in layer.split("_")[1].split("x"))
            kernels[f"{scope}/Conv2d_{layer}".strip("/")] = (height, width, inputs, filters)
            inputs = filters

    chain("", 3, ("1a_3x3", 32), ("2a_3x3", 32), ("2b_3x3", 64))
    chain("Mixed_3a/Branch_1", 64, ("0a_3x3", 96))
    chain("Mixed_4a/Branch_0", 160, ("0a_1x1", 64), ("1a_3x3", 96))
    seven = ("0b_1x7", 64), ("0c_7x1", 64)
    chain("Mixed_4a/Branch_1", 160, ("0a_1x1", 64), *seven, ("1a_3x3", 96))
    chain("Mixed_5a/Branch_0", 192, ("1a_3x3", 192))
    for letter in "bcde":
        scope = f"Mixed_5{letter}/Branch_"
        chain(scope + "0", 384, ("0a_1x1", 96))
        chain(scope + "1", 384, ("0a_1x1", 64), ("0b_3x3", 96))
        chain(scope + "2", 384, ("0a_1x1", 64), ("0b_3x3", 96), ("0c_3x3", 96))
        chain(scope + "3", 384, ("0b_1x1", 96))
    chain("Mixed_6a/Branch_0", 384, ("1a_3x3", 384))
    chain("Mixed_6a/Branch_1", 384, ("0a_1x1", 192), ("0b_3x3", 224), ("1a_3x3", 256))
    for letter in "bcdefgh":
        scope = f"Mixed_6{letter}/Branch_"
        chain(scope + "0", 1024, ("0a_1x1", 384))
        chain(scope + "1", 1024, ("0a_1x1", 192), ("0b_1x7", 224), ("0c_7x1", 256))
        long = ("0b_7x1", 192), ("0c_1x7", 224), ("0d_7x1", 224), ("0e_1x7", 256)
        chain(scope + "2", 1024, ("0a_1x1", 192), *long)
        chain(scope + "3", 1024, ("0b_1x1", 128))
    chain("Mixed_7a/Branch_0", 1024, ("0a_1x1", 192), ("1a_3x3", 192))
    seven = ("0b_1x7", 256), ("0c_7x1", 320)
    chain("Mixed_7a/Branch_1", 1024, ("0a_1x1", 256), *seven, ("1a_3x3", 320))
    for letter in "bcd":
        scope = f"Mixed_7{letter}/Branch_"
        chain(scope + "0", 1536, ("0a_1x1", 256))
        chain(scope + "1", 1536, ("0a_1x1", 384), ("0b_1x3", 256))
        chain(scope + "1", 384, ("0c_3x1", 256))
        chain(scope + "2", 1536, ("0a_1x1", 384), ("0b_3x1", 448), ("0c_1x3", 512))
        chain(scope + "2", 512, ("0d_1x3", 256))
        chain(scope + "2", 512, ("0e_3x1", 256))
        chain(scope + "3", 1536, ("0b_1x1", 256))
    chain("AuxLogits", 1024, ("1b_1x1", 128))
    kernels["AuxLogits/Conv2d_2a"] = (5, 5, 128, 768)
    return kernels


KERNELS = _kernels()


def test_variables():
    network = build(num_classes=1000, image_size=IMAGE_SIZE)
    assert {
        name: tuple(network.variables[f"InceptionV4/{name}/weights"].shape) for name in KERNELS
    } == KERNELS
    norm = {f"{name}/BatchNorm/{item}" for name in KERNELS for item in NORM}
    heads = {
        f"{name}/{kind}"
        for name in ("Logits/Logits", "AuxLogits/Aux_logits")
        for kind in ("weights", "biases")
    }
    expected = {f"{name}/weights" for name in KERNELS} | norm | heads
    assert set(network.variables) == {f"InceptionV4/{name}" for name in expected}
    # timm counts 42,679,816 for 1000 classes, no auxiliary head, and a gamma for each channel.
    channels = sum(shape[3] for name, shape in KERNELS.items() if "AuxLogits" not in name)
    without_head = sum(
        math.prod(network.variables[name].shape)
        for name in network.trainable
        if "AuxLogits" not in name
    )
    assert without_head == 42_679_816 - channels + 1537


def side(name: str) -> int:
    """Returns the height of a convolution's output for images of 299 pixels: figures 3 to 9."""
    stem = {"Conv2d_1a_3x3": 149, "Conv2d_2a_3x3": 147, "Conv2d_2b_3x3": 147}
    if name in stem:
        return stem[name]
    stage, letter = name[len("Mixed_")], name[len("Mixed_3")]
    before = {"3": 147, "4": 73, "5": 71, "6": 35, "7": 17}[stage]
    after = {"3": 73, "4": 71, "5": 35, "6": 17, "7": 8}[stage]
    reduces = letter != "a" or "Conv2d_1a" in name or stage == "3"
    return after if reduces else before


def graph_of(network: Network, image_size: int) -> Any:
    def logits(images: tf.Tensor) -> tf.Tensor:
        return network(images, training=False).logits

    images = tf.TensorSpec([1, image_size, image_size, 3], tf.uint8)
    return tf.function(logits, autograph=False).get_concrete_function(images).graph


@pytest.mark.slow
def test_feature_maps_have_the_sizes_of_the_paper():
    operations = graph_of(
        build(num_classes=1000, image_size=IMAGE_SIZE), IMAGE_SIZE
    ).get_operations()
    maps = [tuple(one.outputs[0].shape[1:]) for one in operations if one.type == "ConcatV2"]
    stem = [(73, 73, 160), (71, 71, 192), (35, 35, 384)]
    blocks = 4 * [(35, 35, 384)] + 8 * [(17, 17, 1024)] + 4 * [(8, 8, 1536)]
    assert maps == stem + blocks
    pools = [one.type for one in operations if one.type in ("AvgPool", "MaxPool")]
    # One in every block, in every reduction, two in the stem and one before the auxiliary head.
    assert pools.count("AvgPool") == 4 + 7 + 3 + 1
    assert pools.count("MaxPool") == 2 + 2


def test_multiply_adds():
    counted = cost(build(num_classes=1000, image_size=IMAGE_SIZE), IMAGE_SIZE)
    trunk = {name: shape for name, shape in KERNELS.items() if "AuxLogits" not in name}
    convolutions = sum(math.prod(shape) * side(name) ** 2 for name, shape in trunk.items())
    assert counted.macs == convolutions + 1536 * 1001
    assert counted.activations == sum(shape[3] * side(name) ** 2 for name, shape in trunk.items())
    # timm counts 12.28 billion and 15.09 million.
    assert counted.macs / 1e9 == pytest.approx(12.28, rel=0.01)
    assert counted.activations / 1e6 == pytest.approx(15.09, abs=0.005)


def reference(network: Network, images: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes logits and auxiliary logits in evaluation, from the paper, in plain TensorFlow."""
    value, norm = parts(network, "InceptionV4")

    def convolution(
        x: tf.Tensor, name: str, stride: int = 1, padding: str | None = None
    ) -> tf.Tensor:
        padding = padding or ("SAME" if stride == 1 else "VALID")
        return norm(tf.nn.conv2d(x, value(f"{name}/weights"), stride, padding), name)

    def chain(x: tf.Tensor, names: list[str]) -> tf.Tensor:
        for name in names:
            x = convolution(x, name, stride=2 if "Conv2d_1a" in name else 1)
        return x

    def branch(module: str, index: int) -> list[str]:
        return [name for name in KERNELS if name.startswith(f"{module}/Branch_{index}/")]

    def max_pool(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.max_pool2d(x, 3, 2, "VALID")

    def block(x: tf.Tensor, module: str) -> tf.Tensor:
        outputs = []
        for index in range(4):
            names = branch(module, index)
            y = tf.nn.avg_pool2d(x, 3, 1, "SAME") if index == 3 else x
            # Figure 6: two branches end in two parallel convolutions.
            forks = names[-2:] if module.startswith("Mixed_7") and index in (1, 2) else []
            y = chain(y, names[: len(names) - len(forks)])
            outputs += [convolution(y, name) for name in forks] or [y]
        return tf.concat(outputs, 3)

    def reduction(x: tf.Tensor, module: str) -> tf.Tensor:
        return tf.concat([*(chain(x, branch(module, index)) for index in (0, 1)), max_pool(x)], 3)

    x = convolution(tf.cast(images, tf.float32) / 127.5 - 1.0, "Conv2d_1a_3x3", 2)
    x = convolution(convolution(x, "Conv2d_2a_3x3", padding="VALID"), "Conv2d_2b_3x3")
    x = tf.concat([max_pool(x), convolution(x, "Mixed_3a/Branch_1/Conv2d_0a_3x3", 2)], 3)
    halves = []
    for index in (0, 1):
        *names, last = branch("Mixed_4a", index)
        halves.append(convolution(chain(x, names), last, padding="VALID"))
    x = tf.concat(halves, 3)
    x = tf.concat([convolution(x, "Mixed_5a/Branch_0/Conv2d_1a_3x3", 2), max_pool(x)], 3)
    for letter in "bcde":
        x = block(x, f"Mixed_5{letter}")
    x = reduction(x, "Mixed_6a")
    for letter in "bcdefgh":
        x = block(x, f"Mixed_6{letter}")
    auxiliary = convolution(tf.nn.avg_pool2d(x, 5, 3, "VALID"), "AuxLogits/Conv2d_1b_1x1")
    auxiliary = convolution(auxiliary, "AuxLogits/Conv2d_2a", padding="VALID")[:, 0, 0]
    x = reduction(x, "Mixed_7a")
    for letter in "bcd":
        x = block(x, f"Mixed_7{letter}")

    def dense(x: tf.Tensor, name: str) -> tf.Tensor:
        return x @ value(f"{name}/weights") + value(f"{name}/biases")

    logits = dense(tf.reduce_mean(x, [1, 2]), "Logits/Logits")
    return logits, dense(auxiliary, "AuxLogits/Aux_logits")


@pytest.mark.slow
def test_it_equals_a_second_implementation():
    network = build(num_classes=10, image_size=107)
    generator = np.random.default_rng(1)
    images = patches(8, 107, generator)
    make_images_matter(network, images, INCEPTION_BATCH_NORM.decay, generator)
    result = network(images, training=False)
    for actual, expected in zip(
        (result.logits, result.aux_logits), reference(network, images), strict=True
    ):
        # The batch norms magnify rounding errors; a wrong layer changes the logits much more.
        np.testing.assert_allclose(actual, expected, atol=2e-3 * differences(expected))
