"""The layers of EfficientNet-Lite, named as in the official TF1 checkpoints."""

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
from models.layer_factory import LayerFactory

MINIMUM_IMAGE_SIZE = 32
PIXEL_MEAN = 127.0
PIXEL_STD = 128.0
IMAGENET_CLASSES = 1000


def layer_factory(
    dtype: str, layout: str = "NHWC", *, sync_batch_norm: bool = False
) -> LayerFactory:
    """What all layers of EfficientNet-Lite have in common."""
    return LayerFactory(
        dtype=dtype,
        layout=layout,
        sync_batch_norm=sync_batch_norm,
        # std sqrt(2 / fan_out), not truncated, for convolutions and depthwise convolutions.
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        bn_momentum=0.99,
        bn_epsilon=1e-3,
    )


def scope(variant: int) -> str:
    """What the names of a checkpoint begin with."""
    return f"efficientnet-lite{variant}"


def features(factory: LayerFactory, variant: int, pixels: Any) -> Any:
    """Stem, blocks and the last convolution: [B, H, W, 3], normalised -> [B, H/32, W/32, 1280]."""
    outputs = factory.convolution("stem.conv2d", STEM_FILTERS, 3, strides=2)(pixels)
    outputs = factory.batch_norm("stem.tpu_batch_normalization")(outputs)
    outputs = factory.relu("stem.relu6", max_value=6.0)(outputs)
    for block in blocks(VARIANTS[variant]):
        outputs = _inverted_residual(factory, block, outputs)
    outputs = factory.convolution("head.conv2d", HEAD_FILTERS, 1)(outputs)
    outputs = factory.batch_norm("head.tpu_batch_normalization")(outputs)
    return factory.relu("head.relu6", max_value=6.0)(outputs)


def classification(
    factory: LayerFactory,
    variant: int,
    feature_map: Any,
    num_classes: int,
    activation: Any = None,
) -> Any:
    """Pooling, dropout and the dense layer: `activation` of the logits, float32 [B, classes]."""
    outputs = factory.global_average_pooling("head.pool")(feature_map)
    outputs = factory.dropout("head.dropout", VARIANTS[variant].dropout)(outputs)
    initializer = _dense_initializer(num_classes)
    classify = factory.classifier("head.dense", num_classes, initializer, activation)
    return classify(outputs)


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
