"""The networks for CIFAR-10 with the names that tf_cnn_benchmarks gave them.

ResNets: He et al., 2015, section 4.2, and for version 2 He et al., 2016. Their shortcuts are of
type A, without parameters: between stages they take every second pixel and append channels of
zeros. tf_cnn_benchmarks averaged 2 x 2 pixels there, but the published errors belong to type A.

DenseNets without bottlenecks: Huang et al., 2017, sections 3 and 4.2. They have no dropout, as in
the paper's experiments with augmented images.
"""

from __future__ import annotations

from typing import Any

import keras

from models.layer_factory import LayerFactory, fan_out_normal
from models.layers.pixel_normalization import CIFAR10
from models.model_spec import BuildConfig
from models.network import Network

MINIMUM_IMAGE_SIZE = 8
BATCH_NORM = {"bn_momentum": 0.9, "bn_epsilon": 1e-5}
RESNET_FILTERS = (16, 32, 64)
DENSENET_STEM_FILTERS = 16
DENSENET_BLOCKS = 3


def build_resnet(config: BuildConfig, blocks: int, version: int) -> Network:
    """Builds a ResNet of 6 * blocks + 2 layers: three stages of `blocks` blocks.

    Variables: <name>/stem/conv2d/kernel, <name>/stage<1..3>/block<1..>/conv{1,2}/conv2d/kernel,
    <name>/head/dense/{kernel,bias}, and batch_norm/{gamma ...} next to every conv2d. Version 2
    normalizes before each convolution: it has none next to the stem's and one in <name>/head.
    """
    config.check(minimum_image_size=MINIMUM_IMAGE_SIZE)
    factory = config.layers(kernel_initializer="he_normal", **BATCH_NORM)
    images = keras.Input((config.image_size, config.image_size, 3), name="images")
    features = factory.pixels(images, CIFAR10)
    features = factory.convolution("stem.conv2d", RESNET_FILTERS[0], 3)(features)
    if version == 1:
        features = _normalize(factory, "stem", features)
    residual_block = {1: _block, 2: _pre_activation_block}[version]
    for stage, filters in enumerate(RESNET_FILTERS):
        for index in range(blocks):
            scope = f"stage{stage + 1}.block{index + 1}"
            is_first = index == 0
            strides = 2 if is_first and stage > 0 else 1
            features = residual_block(factory, scope, features, filters, strides, is_first)
    if version == 2:
        features = _normalize(factory, "head", features)
    features = factory.global_average_pooling("head.pool")(features)
    logits = factory.classifier("head.dense", config.num_classes)(features)
    return config.network(images, logits)


def _block(
    factory: LayerFactory, scope: str, inputs: Any, filters: int, strides: int, _is_first: bool
) -> Any:
    """Applies two 3x3 convolutions, each normalized; the last ReLU follows the addition."""
    shortcut = inputs
    if strides > 1:
        shortcut = factory.zero_padded_shortcut(f"{scope}.shortcut", filters, strides)(inputs)
    features = _convolve(factory, f"{scope}.conv1", inputs, filters, strides)
    features = _normalize(factory, f"{scope}.conv1", features)
    features = _convolve(factory, f"{scope}.conv2", features, filters, 1)
    features = factory.batch_norm(f"{scope}.conv2.batch_norm")(features)
    features = factory.add(f"{scope}.add")([features, shortcut])
    return factory.relu(f"{scope}.relu")(features)


def _pre_activation_block(
    factory: LayerFactory, scope: str, inputs: Any, filters: int, strides: int, is_first: bool
) -> Any:
    """Applies batch norm and ReLU before each of two 3x3 convolutions; the addition comes last.

    The first block of a stage normalizes before the paths part (He et al., 2016, appendix).
    """
    features = _normalize(factory, f"{scope}.conv1", inputs)
    shortcut = features if is_first else inputs
    if strides > 1:
        shortcut = factory.zero_padded_shortcut(f"{scope}.shortcut", filters, strides)(shortcut)
    features = _convolve(factory, f"{scope}.conv1", features, filters, strides)
    features = _normalize(factory, f"{scope}.conv2", features)
    features = _convolve(factory, f"{scope}.conv2", features, filters, 1)
    return factory.add(f"{scope}.add")([features, shortcut])


def _normalize(factory: LayerFactory, scope: str, features: Any) -> Any:
    features = factory.batch_norm(f"{scope}.batch_norm")(features)
    return factory.relu(f"{scope}.relu")(features)


def _convolve(factory: LayerFactory, scope: str, inputs: Any, filters: int, strides: int) -> Any:
    """Applies a 3x3 convolution, padded equally so that it samples the shortcut's pixels."""
    padding = "same"
    if strides > 1:
        inputs = factory.zero_padding(f"{scope}.padding", 1)(inputs)
        padding = "valid"
    convolve = factory.convolution(f"{scope}.conv2d", filters, 3, strides=strides, padding=padding)
    return convolve(inputs)


def build_densenet(config: BuildConfig, layers: int, growth_rate: int) -> Network:
    """Builds a DenseNet: three blocks of `layers` convolutions, each adding `growth_rate` channels.

    Variables: <name>/stem/conv2d/kernel,
    <name>/block<1..3>/layer<1..>/{batch_norm/gamma ..., conv2d/kernel},
    <name>/transition<1..2>/{batch_norm/gamma ..., conv2d/kernel}, <name>/head/batch_norm/...,
    <name>/head/dense/{kernel,bias}.
    """
    config.check(minimum_image_size=MINIMUM_IMAGE_SIZE)
    # The initializer is that of the authors' program.
    factory = config.layers(kernel_initializer=fan_out_normal(), **BATCH_NORM)
    images = keras.Input((config.image_size, config.image_size, 3), name="images")
    features = factory.pixels(images, CIFAR10)
    features = factory.convolution("stem.conv2d", DENSENET_STEM_FILTERS, 3)(features)
    channels = DENSENET_STEM_FILTERS
    for block in range(1, DENSENET_BLOCKS + 1):
        if block > 1:
            scope = f"transition{block - 1}"
            features = _normalize_and_convolve(factory, scope, features, channels, kernel_size=1)
            features = factory.average_pooling(f"{scope}.pool", 2, 2)(features)
        for layer in range(1, layers + 1):
            scope = f"block{block}.layer{layer}"
            added = _normalize_and_convolve(factory, scope, features, growth_rate, kernel_size=3)
            features = factory.concatenate(f"{scope}.concat")([features, added])
            channels += growth_rate
    features = _normalize(factory, "head", features)
    features = factory.global_average_pooling("head.pool")(features)
    logits = factory.classifier("head.dense", config.num_classes)(features)
    return config.network(images, logits)


def _normalize_and_convolve(
    factory: LayerFactory, scope: str, inputs: Any, filters: int, *, kernel_size: int
) -> Any:
    features = _normalize(factory, scope, inputs)
    return factory.convolution(f"{scope}.conv2d", filters, kernel_size)(features)
