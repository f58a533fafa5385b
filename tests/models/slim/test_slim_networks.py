"""Names, shapes and counts of the TF-Slim networks, against the published checkpoints."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.network import Network
from models.slim.arg_scopes import MOBILENET_BATCH_NORM
from tests.models.slim.slim_reference import differences, make_images_matter, parts, patches

INCEPTION_NORM = ("beta", "moving_mean", "moving_variance")
FULL_NORM = ("beta", "gamma", "moving_mean", "moving_variance")
RESNET_UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def build(name: str, **options) -> Network:
    spec = registry.get(name)
    return spec.build(**{"num_classes": 1000, "image_size": spec.image_size, **options})


def num_parameters(network: Network, without: str = "nothing") -> int:
    return sum(
        math.prod(network.variables[name].shape)
        for name in network.trainable
        if without not in name
    )


def resnet_parameters(version: int, units: tuple[int, ...], outputs: int) -> int:
    """Counts by He et al., 2015, table 1, and, for v2, He et al., 2016, figure 1."""
    total = 7 * 7 * 3 * 64 + (2 * 64 if version == 1 else 64)
    inputs = 64
    for inner, count in zip((64, 128, 256, 512), units, strict=True):
        for unit in range(count):
            convolutions = inputs * inner + 9 * inner * inner + inner * 4 * inner
            if version == 1:
                total += convolutions + 2 * (inner + inner + 4 * inner)
            else:
                # Batch norm in front and inside, a bias at the end.
                total += 2 * inputs + convolutions + 2 * (inner + inner) + 4 * inner
            if unit == 0:
                total += inputs * 4 * inner + (2 if version == 1 else 1) * 4 * inner
            inputs = 4 * inner
    postnorm = 0 if version == 1 else 2 * 2048
    return total + postnorm + 2048 * outputs + outputs


def vgg_parameters(widths: tuple[int, ...]) -> int:
    total, inputs = 0, 3
    for width in widths:
        total += 9 * inputs * width + width
        inputs = width
    dense = (7 * 7 * 512 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
    return total + dense


def mobilenet_v1_parameters(outputs: int) -> int:
    widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    total = 27 * 32 + 2 * 32
    for inputs, filters in itertools.pairwise(widths):
        total += 9 * inputs + 2 * inputs + inputs * filters + 2 * filters
    return total + 1024 * outputs + outputs


def mobilenet_v2_parameters(stem: int, stages: tuple[int, ...], head: int, outputs: int) -> int:
    """Counts by Sandler et al., 2018, table 2, with these widths."""
    total, inputs = 27 * stem + 2 * stem, stem
    for expansion, filters, repeats in zip(
        (1, 6, 6, 6, 6, 6, 6), stages, (1, 2, 3, 4, 3, 3, 1), strict=True
    ):
        for _ in range(repeats):
            inner = expansion * inputs
            total += (inputs * inner + 2 * inner) if expansion > 1 else 0
            total += 9 * inner + 2 * inner + inner * filters + 2 * filters
            inputs = filters
    return total + inputs * head + 2 * head + head * outputs + outputs


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "depth", [50, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (101, 152))]
)
def test_resnet_variables(version, depth):
    network = build(f"resnet_v{version}_{depth}", image_size=32)
    outputs = 1000 if version == 1 else 1001
    assert num_parameters(network) == resnet_parameters(version, RESNET_UNITS[depth], outputs)
    expected = {f"resnet_v{version}_{depth}/{name}" for name in resnet_names(version, depth)}
    assert set(network.variables) == expected


def resnet_names(version: int, depth: int) -> list[str]:
    norm = [f"BatchNorm/{name}" for name in FULL_NORM]
    names = ["conv1/weights", "logits/weights", "logits/biases"]
    names += [f"conv1/{name}" for name in (norm if version == 1 else ["biases"])]
    if version == 2:
        names += [f"postnorm/{name}" for name in FULL_NORM]
    for block, units in enumerate(RESNET_UNITS[depth], start=1):
        for unit in range(1, units + 1):
            scope = f"block{block}/unit_{unit}/bottleneck_v{version}"
            with_norm = ["conv1", "conv2"] + (["conv3"] if version == 1 else [])
            shortcut = ["shortcut"] if unit == 1 else []
            names += [
                f"{scope}/{layer}/weights" for layer in ["conv1", "conv2", "conv3", *shortcut]
            ]
            if version == 1:
                with_norm += shortcut
            else:
                names += [f"{scope}/{layer}/biases" for layer in ["conv3", *shortcut]]
                names += [f"{scope}/preact/{name}" for name in FULL_NORM]
            names += [f"{scope}/{layer}/{name}" for layer in with_norm for name in norm]
    return names


def test_resnet_v1_50_has_the_published_count():
    assert resnet_parameters(1, RESNET_UNITS[50], 1000) == 25_557_032


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "depths", "published"),
    [
        ("vgg_a", (1, 1, 2, 2, 2), 132_863_336),
        ("vgg_16", (2, 2, 3, 3, 3), 138_357_544),
        ("vgg_19", (2, 2, 4, 4, 4), 143_667_240),
    ],
)
def test_vgg_variables(name, depths, published):
    network = build(name)
    widths = [
        width
        for width, depth in zip((64, 128, 256, 512, 512), depths, strict=True)
        for _ in range(depth)
    ]
    assert num_parameters(network) == vgg_parameters(tuple(widths)) == published
    layers = ["fc6", "fc7", "fc8"]
    for block, depth in enumerate(depths, start=1):
        layers += [f"conv{block}/conv{block}_{layer}" for layer in range(1, depth + 1)]
    expected = {f"{name}/{layer}/{kind}" for layer in layers for kind in ("weights", "biases")}
    assert set(network.variables) == expected


def test_alexnet_variables():
    network = build("alexnet_v2", num_classes=10)
    convolutions = ((11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 384), (3, 384, 256))
    dense = ((5, 256, 4096), (1, 4096, 4096), (1, 4096, 10))
    expected = sum(k * k * inputs * out + out for k, inputs, out in convolutions + dense)
    assert num_parameters(network) == expected
    names = [f"conv{index}" for index in range(1, 6)] + ["fc6", "fc7", "fc8"]
    assert list(network.variables) == [
        f"alexnet_v2/{name}/{kind}" for name in names for kind in ("weights", "biases")
    ]


@pytest.mark.slow
def test_overfeat_variables():
    network = build("overfeat", num_classes=10)
    convolutions = ((11, 3, 64), (5, 64, 256), (3, 256, 512), (3, 512, 1024), (3, 1024, 1024))
    dense = ((6, 1024, 3072), (1, 3072, 4096), (1, 4096, 10))
    expected = sum(k * k * inputs * out + out for k, inputs, out in convolutions + dense)
    assert num_parameters(network) == expected
    assert "overfeat/fc8/biases" in network.variables


@pytest.mark.parametrize("name", ["mobilenet_v1_orig", "mobilenet_v1_relu"])
def test_mobilenet_v1_variables(name):
    network = build(name)
    # 4,231,976 is the published count for 1000 classes; a background class adds 1025.
    assert num_parameters(network) == mobilenet_v1_parameters(1001) == 4_231_976 + 1025
    layers = ["Conv2d_0/weights"]
    for index in range(1, 14):
        layers.append(f"Conv2d_{index}_depthwise/depthwise_weights")
        layers.append(f"Conv2d_{index}_pointwise/weights")
    expected = set(layers)
    expected |= {f"{layer.split('/')[0]}/BatchNorm/{n}" for layer in layers for n in FULL_NORM}
    expected |= {f"Logits/Conv2d_1c_1x1/{kind}" for kind in ("weights", "biases")}
    assert set(network.variables) == {f"MobilenetV1/{item}" for item in expected}


@pytest.mark.parametrize("name", ["mobilenet_v2_d1", "mobilenet_v2_orig"])
def test_mobilenet_v2_variables(name):
    network = build(name)
    stages = (16, 24, 32, 64, 96, 160, 320)
    counted = mobilenet_v2_parameters(32, stages, 1280, 1001)
    # 3,504,872 is the published count for 1000 classes; a background class adds 1281.
    assert num_parameters(network) == counted == 3_504_872 + 1281
    kernels = ["Conv/weights", "Conv_1/weights"]
    for index in range(17):
        scope = f"expanded_conv_{index}" if index else "expanded_conv"
        kernels += [f"{scope}/expand/weights"] if index else []
        kernels += [f"{scope}/depthwise/depthwise_weights", f"{scope}/project/weights"]
    expected = set(kernels)
    expected |= {f"{item.rsplit('/', 1)[0]}/BatchNorm/{n}" for item in kernels for n in FULL_NORM}
    expected |= {f"Logits/Conv2d_1c_1x1/{kind}" for kind in ("weights", "biases")}
    assert set(network.variables) == {f"MobilenetV2/{item}" for item in expected}


def test_the_wide_mobilenet_v2_cuts_its_widths():
    network = build("mobilenet_v2_d14")
    # 1.4 times 32, 16, 24, 32, 64, 96, 160, 320, 1280, without the fractions.
    stages = (22, 33, 44, 89, 134, 224, 448)
    assert num_parameters(network) == mobilenet_v2_parameters(44, stages, 1792, 1001)


# Szegedy et al., 2014, table 1: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection. Slim's 5x5
# are 3x3.
INCEPTION_V1 = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


@pytest.mark.parametrize(("name", "norm"), [("inception_v1", INCEPTION_NORM), ("googlenet", None)])
def test_inception_v1_variables(name, norm):
    network = build(name, image_size=32)
    shapes = {"Conv2d_1a_7x7": (7, 3, 64), "Conv2d_2b_1x1": (1, 64, 64)}
    shapes["Conv2d_2c_3x3"] = (3, 64, 192)
    inputs = 192
    for module, (one, reduce, three, small, five, pool) in INCEPTION_V1.items():
        last = "Conv2d_0a_3x3" if module == "5b" else "Conv2d_0b_3x3"
        scope = f"Mixed_{module}"
        shapes[f"{scope}/Branch_0/Conv2d_0a_1x1"] = (1, inputs, one)
        shapes[f"{scope}/Branch_1/Conv2d_0a_1x1"] = (1, inputs, reduce)
        shapes[f"{scope}/Branch_1/Conv2d_0b_3x3"] = (3, reduce, three)
        shapes[f"{scope}/Branch_2/Conv2d_0a_1x1"] = (1, inputs, small)
        shapes[f"{scope}/Branch_2/{last}"] = (3, small, five)
        shapes[f"{scope}/Branch_3/Conv2d_0b_1x1"] = (1, inputs, pool)
        inputs = one + three + five + pool
    suffixes = ["biases"] if norm is None else [f"BatchNorm/{item}" for item in norm]
    expected = {
        f"InceptionV1/{layer}/{suffix}" for layer in shapes for suffix in ["weights", *suffixes]
    }
    expected |= {f"InceptionV1/Logits/Conv2d_0c_1x1/{kind}" for kind in ("weights", "biases")}
    assert set(network.variables) == expected
    for layer, (size, inputs, out) in shapes.items():
        assert network.variables[f"InceptionV1/{layer}/weights"].shape == (size, size, inputs, out)
    assert network.variables["InceptionV1/Logits/Conv2d_0c_1x1/weights"].shape == (1, 1, 1024, 1001)


def test_inception_v3_variables():
    network = build("inception_v3", num_classes=1000)
    # keras.applications documents 23,817,352 trainable ones: 1000 classes, no auxiliary head.
    background = 2049
    auxiliary_head = (768 + 1) * 128 + (25 * 128 + 1) * 768 + (768 + 1) * 1001
    expected = 23_817_352 + background + auxiliary_head
    names = ("Conv2d_1b_1x1", "Conv2d_2a_5x5", "Conv2d_2b_1x1")
    auxiliary = [name for name in network.trainable if "/AuxLogits/" in name]
    assert {name.split("/")[2] for name in auxiliary} == set(names)
    assert num_parameters(network) == expected
    # Misprints of the published checkpoint that are kept.
    assert "InceptionV3/Mixed_5c/Branch_1/Conv_1_0c_5x5/weights" in network.variables


def test_kernels_decay_and_nothing_else():
    network = build("mobilenet_v1_relu", image_size=32)
    assert {name.rsplit("/", 1)[1] for name in network.decayed} == {"weights", "depthwise_weights"}
    # 14 convolutions, 13 depthwise ones, the classifier.
    assert len(network.decayed) == 14 + 13 + 1
    separable = build("inception_v2", image_size=32)
    assert "InceptionV2/Conv2d_1a_7x7/pointwise_weights" in separable.decayed
    assert not [name for name in separable.decayed if "BatchNorm" in name or "biases" in name]


def test_only_published_background_classes():
    with_background = {
        name: registry.get(name).background_class
        for name in ("inception_v3", "mobilenet_v1_orig", "resnet_v2_101", "resnet_v1_50", "vgg_16")
    }
    assert with_background == {
        "inception_v3": True,
        "mobilenet_v1_orig": True,
        "resnet_v2_101": True,
        "resnet_v1_50": False,
        "vgg_16": False,
    }


def test_image_sizes_are_those_of_tf_imagenet():
    sizes = {spec: registry.get(spec).image_size for spec in ("inception_v3", "inception_v4")}
    assert sizes == {"inception_v3": 299, "inception_v4": 299}
    assert registry.get("overfeat").image_size == 231
    assert registry.get("resnet_v2_152").image_size == 224
    assert registry.get("resnet_v2_152_299").image_size == 299


def test_larger_images_change_no_variable_of_resnet_v2():
    """resnet_v2_50_299 restores slim's published checkpoint, like resnet_v2_50."""
    small, large = (
        build(name, num_classes=10, image_size=32) for name in ("resnet_v2_50", "resnet_v2_50_299")
    )
    assert large.name == "resnet_v2_50_299"
    assert list(large.variables) == list(small.variables)
    assert all(name.startswith("resnet_v2_50/") for name in large.variables)
    specs = [registry.get(name) for name in ("resnet_v2_50", "resnet_v2_50_299")]
    assert specs[0].options == specs[1].options
    assert specs[1].background_class


@pytest.mark.parametrize("name", ["inception_v3", "inception_v4"])
def test_the_smallest_image_and_auxiliary_logits(name):
    network = build(name, num_classes=3, image_size=107)
    result = network(np.zeros((2, 107, 107, 3), np.uint8), training=False)
    assert result.logits.shape == (2, 4)
    assert result.aux_logits.shape == (2, 4)
    assert result.logits.dtype == result.aux_logits.dtype == tf.float32


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        ("resnet_v1_50", 32),
        ("googlenet", 32),
        ("mobilenet_v1_orig", 32),
        ("mobilenet_v2_d1", 32),
        ("inception_v3", 107),
        *(
            pytest.param(name, size, marks=pytest.mark.slow)
            for name, size in (
                ("alexnet_v2", 195),
                ("inception_v2", 32),
                ("inception_v4", 107),
                ("overfeat", 231),
                ("resnet_v2_50", 32),
                ("vgg_a", 224),
            )
        ),
    ],
)
def test_logits_are_computed_in_float32(name, image_size):
    network = build(name, num_classes=100, image_size=image_size, dtype="bfloat16")
    images = np.random.default_rng(1).integers(0, 256, (2, image_size, image_size, 3), np.uint8)
    result = network(images, training=False)
    for logits in (result.logits, result.aux_logits):
        if logits is not None:
            assert logits.dtype == tf.float32
            rounded = tf.cast(tf.cast(logits, tf.bfloat16), tf.float32)
            assert np.mean(logits != rounded) > 0.9
    assert {variable.dtype for variable in network.variables.values()} == {tf.float32}


def reference_mobilenet_v1(network: Network, images: np.ndarray, limit: float) -> tf.Tensor:
    """Computes MobileNet v1 in evaluation, from its description, in plain TensorFlow."""
    value, norm = parts(network, "MobilenetV1", limit)
    x = tf.cast(images, tf.float32) / 127.5 - 1.0
    x = norm(tf.nn.conv2d(x, value("Conv2d_0/weights"), 2, "SAME"), "Conv2d_0")
    for index in range(1, 14):
        stride = 2 if index in (2, 4, 6, 12) else 1
        layer = f"Conv2d_{index}_depthwise"
        kernel = value(f"{layer}/depthwise_weights")
        x = norm(tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME"), layer)
        layer = f"Conv2d_{index}_pointwise"
        x = norm(tf.nn.conv2d(x, value(f"{layer}/weights"), 1, "SAME"), layer)
    weights = value("Logits/Conv2d_1c_1x1/weights")[0, 0]
    return tf.reduce_mean(x, [1, 2]) @ weights + value("Logits/Conv2d_1c_1x1/biases")


def reference_mobilenet_v2(network: Network, images: np.ndarray, limit: float) -> tf.Tensor:
    """Computes MobileNet v2 in evaluation, from Sandler et al., 2018, table 2 and figure 4."""
    value, norm = parts(network, "MobilenetV2", limit)

    def convolution(x: tf.Tensor, layer: str, stride: int, is_linear: bool = False) -> tf.Tensor:
        return norm(tf.nn.conv2d(x, value(f"{layer}/weights"), stride, "SAME"), layer, is_linear)

    x = convolution(tf.cast(images, tf.float32) / 127.5 - 1.0, "Conv", 2)
    for index in range(17):
        scope = f"expanded_conv_{index}" if index else "expanded_conv"
        # The first blocks of the second, third, fourth and sixth stage.
        stride = 2 if index in (1, 3, 6, 13) else 1
        inner = convolution(x, f"{scope}/expand", 1) if index else x
        kernel, layer = value(f"{scope}/depthwise/depthwise_weights"), f"{scope}/depthwise"
        inner = norm(tf.nn.depthwise_conv2d(inner, kernel, [1, stride, stride, 1], "SAME"), layer)
        inner = convolution(inner, f"{scope}/project", 1, is_linear=True)
        # Every block but the first of a stage; stages have 1, 2, 3, 4, 3, 3 and 1 of them.
        x = inner if index in (0, 1, 3, 6, 10, 13, 16) else inner + x
    x = convolution(x, "Conv_1", 1)
    weights = value("Logits/Conv2d_1c_1x1/weights")[0, 0]
    return tf.reduce_mean(x, [1, 2]) @ weights + value("Logits/Conv2d_1c_1x1/biases")


@pytest.mark.parametrize(
    ("name", "reference", "limit"),
    [
        ("mobilenet_v1_orig", reference_mobilenet_v1, 6.0),
        ("mobilenet_v1_relu", reference_mobilenet_v1, math.inf),
        ("mobilenet_v2_d1", reference_mobilenet_v2, math.inf),
        ("mobilenet_v2_d14", reference_mobilenet_v2, math.inf),
        ("mobilenet_v2_orig", reference_mobilenet_v2, 6.0),
    ],
)
def test_a_mobilenet_equals_a_second_implementation(name, reference, limit):
    network = build(name, num_classes=10, image_size=64)
    generator = np.random.default_rng(1)
    images = patches(8, 64, generator)
    make_images_matter(network, images, MOBILENET_BATCH_NORM.decay, generator)
    logits = network(images, training=False).logits
    expected = reference(network, images, limit)
    np.testing.assert_allclose(logits, expected, atol=2e-4 * differences(expected))
    # The test distinguishes ReLU from ReLU6.
    other = reference(network, images, 6.0 if limit == math.inf else math.inf)
    assert np.abs(other - expected).max() > 1e-2 * differences(expected)
