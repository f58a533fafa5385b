"""MobileNet v1 (Howard et al., 2017, table 1) and v2 (Sandler et al., 2018, table 2).

Scopes are those of slim's checkpoints. In two things v2 follows tf-imagenet and not the paper, so
that weights trained there keep their meaning: the activation is the arg scope's, ReLU or ReLU6, and
scaled widths are truncated to whole numbers instead of rounded to multiples of 8. With width 1.0
the shapes are those of slim's published checkpoint, whose network has ReLU6; with 1.4 only the
names are.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.slim import layers

DROPOUT_KEEP_PROBABILITY = 0.9
STEM_FILTERS = 32
HEAD_FILTERS = 1280
MINIMUM_FILTERS = 8
# v1: stride of the depthwise convolution, and filters of the pointwise one that follows.
BLOCKS = (
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    *((1, 512),) * 5,
    (2, 1024),
    (1, 1024),
)
# v2: expansion, filters, repeats and the stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v1(images: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns logits, float32 [B, 1, 1, classes], of images [B, H, W, 3]."""
    with tf.compat.v1.variable_scope("MobilenetV1"):
        features = layers.conv2d(images, STEM_FILTERS, [3, 3], stride=2, scope="Conv2d_0")
        for index, (stride, filters) in enumerate(BLOCKS, start=1):
            features = layers.depthwise_conv2d(
                features, 3, stride=stride, scope=f"Conv2d_{index}_depthwise"
            )
            features = layers.conv2d(features, filters, [1, 1], scope=f"Conv2d_{index}_pointwise")
        return _logits(features, num_classes, dropout="Dropout_1b")


def mobilenet_v2(images: tf.Tensor, num_classes: int, width: float) -> tf.Tensor:
    """Returns logits, float32 [B, 1, 1, classes], of images [B, H, W, 3].

    Args:
        width: multiplies all filters.
    """
    with tf.compat.v1.variable_scope("MobilenetV2"):
        stem_filters = scaled_filters(STEM_FILTERS, width)
        features = layers.conv2d(images, stem_filters, [3, 3], stride=2, scope="Conv")
        index = 0
        for expansion, filters, repeats, first_stride in STAGES:
            for repeat in range(repeats):
                scope = f"expanded_conv_{index}" if index else "expanded_conv"
                stride = first_stride if repeat == 0 else 1
                features = _inverted_residual(
                    features, scope, expansion, scaled_filters(filters, width), stride
                )
                index += 1
        features = layers.conv2d(
            features, scaled_filters(HEAD_FILTERS, width), [1, 1], scope="Conv_1"
        )
        return _logits(features, num_classes, dropout="Dropout")


def _logits(features: tf.Tensor, num_classes: int, *, dropout: str) -> tf.Tensor:
    with tf.compat.v1.variable_scope("Logits"):
        pooled = tf.cast(tf.reduce_mean(features, [1, 2], keepdims=True), tf.float32)
        pooled = layers.dropout(pooled, DROPOUT_KEEP_PROBABILITY, scope=dropout)
        return layers.conv2d(
            pooled,
            num_classes,
            [1, 1],
            activation_fn=None,
            normalizer_fn=None,
            scope="Conv2d_1c_1x1",
        )


def scaled_filters(filters: int, width: float) -> int:
    """Returns filters * width without its fraction, at least 8."""
    return max(int(filters * width), MINIMUM_FILTERS)


def _inverted_residual(
    inputs: tf.Tensor, scope: str, expansion: int, filters: int, stride: int
) -> tf.Tensor:
    """Expands 1x1, filters depthwise, projects 1x1; adds the input where shapes allow it."""
    features = inputs
    input_filters: Any = inputs.shape[-1]
    with tf.compat.v1.variable_scope(scope):
        if expansion > 1:
            expanded = expansion * input_filters
            features = layers.conv2d(features, expanded, [1, 1], scope="expand")
        features = layers.depthwise_conv2d(features, 3, stride=stride, scope="depthwise")
        features = layers.conv2d(features, filters, [1, 1], activation_fn=None, scope="project")
    is_residual = stride == 1 and input_filters == filters
    return features + inputs if is_residual else features
