"""EfficientNet-Lite 0 to 4 for training and export, named as in the official TF1 checkpoints."""

from __future__ import annotations

import math
from typing import Any

import keras

from models.efficientnet_lite_blocks import (
    HEAD_FILTERS,
    STEM_FILTERS,
    VARIANTS,
    Block,
    blocks,
)
from models.image_size import check_image_size
from models.keras_network import keras_network
from models.layer_factory import LayerFactory
from models.network import Network

MINIMUM_IMAGE_SIZE = 32
PIXEL_MEAN = 127.0
PIXEL_STD = 128.0
IMAGENET_CLASSES = 1000


def build(
    *,
    name: str,
    variant: int,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
) -> Network:
    """The network of variant 0 to 4; its checkpoint scope is "efficientnet-lite<variant>"."""
    check_image_size(name, image_size, MINIMUM_IMAGE_SIZE)
    factory = LayerFactory(
        dtype=dtype,
        layout=data_format,
        sync_batch_norm=sync_batch_norm,
        # std sqrt(2 / fan_out), not truncated, for convolutions and depthwise convolutions.
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        bn_momentum=0.99,
        bn_epsilon=1e-3,
    )
    scope = f"efficientnet-lite{variant}"
    model = _model(factory, variant, num_classes, image_size, scope)
    return keras_network(model, scope=scope, name=name, background_class=background_class)


def _model(
    factory: LayerFactory, variant: int, num_classes: int, image_size: int, scope: str
) -> keras.Model:
    scaling = VARIANTS[variant]
    images = keras.Input((image_size, image_size, 3), name="images")
    features = factory.pixels(images, mean=PIXEL_MEAN, std=PIXEL_STD)
    features = factory.convolution("stem.conv2d", STEM_FILTERS, 3, strides=2)(features)
    features = factory.batch_norm("stem.tpu_batch_normalization")(features)
    features = factory.relu("stem.relu6", max_value=6.0)(features)
    for block in blocks(scaling):
        features = _inverted_residual(factory, block, features)
    features = factory.convolution("head.conv2d", HEAD_FILTERS, 1)(features)
    features = factory.batch_norm("head.tpu_batch_normalization")(features)
    features = factory.relu("head.relu6", max_value=6.0)(features)
    features = factory.global_average_pooling("head.pool")(features)
    features = factory.dropout("head.dropout", scaling.dropout)(features)
    classify = factory.classifier("head.dense", num_classes, _dense_initializer(num_classes))
    logits = classify(features)
    return keras.Model(images, logits, name=scope)


def _dense_initializer(num_classes: int) -> keras.initializers.Initializer:
    """Uniform within +-1 / sqrt(num_classes), the official rule, but never wider than for ImageNet.

    The rule ignores the 1280 inputs: with 4 classes the first loss would be 10, not log(4) = 1.4.
    """
    limit = 1.0 / math.sqrt(max(num_classes, IMAGENET_CLASSES))
    return keras.initializers.RandomUniform(-limit, limit)


def _inverted_residual(factory: LayerFactory, block: Block, inputs: Any) -> Any:
    """Expand 1x1, filter depthwise, project 1x1 without activation; add, where shapes allow it."""
    scope = f"blocks_{block.index}"
    # Numbered in the order of creation, as TF1 did: without the expansion all numbers are one less.
    numbers = iter(("", "_1", "_2"))
    convolution_name = f"{scope}.conv2d"
    features = inputs
    if block.expansion != 1:
        expanded = block.input_filters * block.expansion
        features = factory.convolution(convolution_name, expanded, 1)(features)
        features = factory.batch_norm(f"{scope}.tpu_batch_normalization{next(numbers)}")(features)
        features = factory.relu(f"{scope}.expand_relu6", max_value=6.0)(features)
        convolution_name = f"{scope}.conv2d_1"
    features = factory.depthwise_convolution(
        f"{scope}.depthwise_conv2d", block.kernel_size, strides=block.strides
    )(features)
    features = factory.batch_norm(f"{scope}.tpu_batch_normalization{next(numbers)}")(features)
    features = factory.relu(f"{scope}.depthwise_relu6", max_value=6.0)(features)
    features = factory.convolution(convolution_name, block.filters, 1)(features)
    features = factory.batch_norm(f"{scope}.tpu_batch_normalization{next(numbers)}")(features)
    if not block.is_residual:
        return features
    features = factory.stochastic_depth(f"{scope}.drop", block.keep_probability)(features)
    return factory.add(f"{scope}.add")([features, inputs])
