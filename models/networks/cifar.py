"""The ResNets of CIFAR-10: He et al., 2015, section 4.2, and, for v2, He et al., 2016.

Shortcuts are type A: where a stage begins, every second pixel of the input, with channels of zeros
beside it, so that no shortcut has parameters. tf_cnn_benchmarks averages 2 x 2 pixels there; the
published errors belong to the paper's network. Names, batch and learning rate are
tf_cnn_benchmarks'.

The DenseNets of CIFAR-10 without bottlenecks: Huang et al., 2017, sections 3 and 4.2.

Without dropout, as the paper trains on augmented images. Names, batch and learning rate are
tf_cnn_benchmarks'.
"""

from __future__ import annotations

from typing import Any

import keras

from models.layer_factory import LayerFactory
from models.layers.pixel_normalization import CIFAR10_MEAN, CIFAR10_STD
from models.model_spec import check_image_size
from models.network import Network, keras_network

MINIMUM_IMAGE_SIZE = 8
STAGE_FILTERS = (16, 32, 64)


def build_resnet(
    *,
    name: str,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
    blocks: int,
    version: int,
) -> Network:
    """Three stages of `blocks` blocks: 6 * blocks + 2 layers. Version 2 normalizes first.

    Variables: <name>/stem/conv2d/kernel, <name>/stage<1..3>/block<1..>/conv{1,2}/conv2d/kernel,
    <name>/head/dense/{kernel,bias}, and batch_norm/{gamma ...} beside every conv2d; in version 2
    not beside the stem's, but in <name>/head.
    """
    check_image_size(name, image_size, MINIMUM_IMAGE_SIZE)
    factory = LayerFactory(
        dtype=dtype,
        layout=data_format,
        sync_batch_norm=sync_batch_norm,
        kernel_initializer="he_normal",
        bn_momentum=0.9,
        bn_epsilon=1e-5,
    )
    images = keras.Input((image_size, image_size, 3), name="images")
    features = factory.pixels(images, mean=CIFAR10_MEAN, std=CIFAR10_STD)
    features = factory.convolution("stem.conv2d", STAGE_FILTERS[0], 3)(features)
    if version == 1:
        features = _normalized(factory, "stem", features)
    residual_block = {1: _block, 2: _pre_activation_block}[version]
    for stage, filters in enumerate(STAGE_FILTERS):
        for index in range(blocks):
            scope = f"stage{stage + 1}.block{index + 1}"
            is_first = index == 0
            strides = 2 if is_first and stage > 0 else 1
            features = residual_block(factory, scope, features, filters, strides, is_first)
    if version == 2:
        features = _normalized(factory, "head", features)
    features = factory.global_average_pooling("head.pool")(features)
    logits = factory.classifier("head.dense", num_classes)(features)
    model = keras.Model(images, logits, name=name)
    return keras_network(model, scope=name, name=name, background_class=background_class)


def _block(
    factory: LayerFactory, scope: str, inputs: Any, filters: int, strides: int, _is_first: bool
) -> Any:
    """Two 3x3 convolutions, each normalized; the last ReLU is behind the addition."""
    shortcut = inputs
    if strides > 1:
        shortcut = factory.zero_padded_shortcut(f"{scope}.shortcut", filters, strides)(inputs)
    features = _resnet_convolution(factory, f"{scope}.conv1", inputs, filters, strides)
    features = _normalized(factory, f"{scope}.conv1", features)
    features = _resnet_convolution(factory, f"{scope}.conv2", features, filters, 1)
    features = factory.batch_norm(f"{scope}.conv2.batch_norm")(features)
    features = factory.add(f"{scope}.add")([features, shortcut])
    return factory.relu(f"{scope}.relu")(features)


def _pre_activation_block(
    factory: LayerFactory, scope: str, inputs: Any, filters: int, strides: int, is_first: bool
) -> Any:
    """Batch norm and ReLU before each of two 3x3 convolutions, nothing behind the addition.

    The first block of a stage normalizes before the paths part (He et al., 2016, appendix).
    """
    features = _normalized(factory, f"{scope}.conv1", inputs)
    shortcut = features if is_first else inputs
    if strides > 1:
        shortcut = factory.zero_padded_shortcut(f"{scope}.shortcut", filters, strides)(shortcut)
    features = _resnet_convolution(factory, f"{scope}.conv1", features, filters, strides)
    features = _normalized(factory, f"{scope}.conv2", features)
    features = _resnet_convolution(factory, f"{scope}.conv2", features, filters, 1)
    return factory.add(f"{scope}.add")([features, shortcut])


def _normalized(factory: LayerFactory, scope: str, features: Any) -> Any:
    features = factory.batch_norm(f"{scope}.batch_norm")(features)
    return factory.relu(f"{scope}.relu")(features)


def _resnet_convolution(
    factory: LayerFactory, scope: str, inputs: Any, filters: int, strides: int
) -> Any:
    """3x3, padded alike on both sides, so that it stays on the pixels that the shortcut takes."""
    padding = "same"
    if strides > 1:
        inputs = factory.zero_padding(f"{scope}.padding", 1)(inputs)
        padding = "valid"
    convolve = factory.convolution(f"{scope}.conv2d", filters, 3, strides=strides, padding=padding)
    return convolve(inputs)


STEM_FILTERS = 16
NUM_BLOCKS = 3


def build_densenet(
    *,
    name: str,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
    layers: int,
    growth_rate: int,
) -> Network:
    """Three dense blocks of `layers` convolutions, each of which adds `growth_rate` channels.

    Variables: <name>/stem/conv2d/kernel,
    <name>/block<1..3>/layer<1..>/{batch_norm/gamma ..., conv2d/kernel},
    <name>/transition<1..2>/{batch_norm/gamma ..., conv2d/kernel}, <name>/head/batch_norm/...,
    <name>/head/dense/{kernel,bias}.
    """
    check_image_size(name, image_size, MINIMUM_IMAGE_SIZE)
    factory = LayerFactory(
        dtype=dtype,
        layout=data_format,
        sync_batch_norm=sync_batch_norm,
        # The authors' program: std sqrt(2 / fan_out).
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        bn_momentum=0.9,
        bn_epsilon=1e-5,
    )
    images = keras.Input((image_size, image_size, 3), name="images")
    features = factory.pixels(images, mean=CIFAR10_MEAN, std=CIFAR10_STD)
    features = factory.convolution("stem.conv2d", STEM_FILTERS, 3)(features)
    channels = STEM_FILTERS
    for block in range(1, NUM_BLOCKS + 1):
        if block > 1:
            scope = f"transition{block - 1}"
            features = _densenet_convolution(factory, scope, features, channels, kernel_size=1)
            features = factory.average_pooling(f"{scope}.pool", 2, 2)(features)
        for layer in range(1, layers + 1):
            scope = f"block{block}.layer{layer}"
            added = _densenet_convolution(factory, scope, features, growth_rate, kernel_size=3)
            features = factory.concatenate(f"{scope}.concat")([features, added])
            channels += growth_rate
    features = factory.batch_norm("head.batch_norm")(features)
    features = factory.relu("head.relu")(features)
    features = factory.global_average_pooling("head.pool")(features)
    logits = factory.classifier("head.dense", num_classes)(features)
    model = keras.Model(images, logits, name=name)
    return keras_network(model, scope=name, name=name, background_class=background_class)


def _densenet_convolution(
    factory: LayerFactory, scope: str, inputs: Any, filters: int, *, kernel_size: int
) -> Any:
    """Batch norm, ReLU, convolution."""
    features = factory.batch_norm(f"{scope}.batch_norm")(inputs)
    features = factory.relu(f"{scope}.relu")(features)
    return factory.convolution(f"{scope}.conv2d", filters, kernel_size)(features)
