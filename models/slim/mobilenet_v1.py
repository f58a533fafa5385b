"""MobileNet v1 (Howard et al., 2017, table 1), with the names of slim's checkpoints."""

from __future__ import annotations

import tensorflow as tf

from models.slim import layers

DROPOUT_KEEP_PROBABILITY = 0.9
STEM_FILTERS = 32
# Stride of the depthwise convolution and filters of the pointwise one behind it.
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


def mobilenet_v1(images: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Logits, float32 [B, 1, 1, classes], of images [B, H, W, 3].

    The activation is the arg scope's.
    """
    with tf.compat.v1.variable_scope("MobilenetV1"):
        features = layers.conv2d(images, STEM_FILTERS, [3, 3], stride=2, scope="Conv2d_0")
        for index, (stride, filters) in enumerate(BLOCKS, start=1):
            features = layers.depthwise_conv2d(
                features, 3, stride=stride, scope=f"Conv2d_{index}_depthwise"
            )
            features = layers.conv2d(features, filters, [1, 1], scope=f"Conv2d_{index}_pointwise")
        with tf.compat.v1.variable_scope("Logits"):
            pooled = tf.cast(tf.reduce_mean(features, [1, 2], keepdims=True), tf.float32)
            pooled = layers.dropout(pooled, DROPOUT_KEEP_PROBABILITY, scope="Dropout_1b")
            return layers.conv2d(
                pooled,
                num_classes,
                [1, 1],
                activation_fn=None,
                normalizer_fn=None,
                scope="Conv2d_1c_1x1",
            )
