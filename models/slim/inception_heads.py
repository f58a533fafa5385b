"""What follows the last feature map of an Inception network.

The heads of tf_slim.nets pool with a window of 7 or 8 pixels, for images of one size; these average
whatever is there and are the same for images of that size.
"""

from __future__ import annotations

import tensorflow as tf

from models.slim import layers

DROPOUT_KEEP_PROBABILITY = 0.8


def pooled_logits(features: tf.Tensor, num_classes: int, dropout: str, logits: str) -> tf.Tensor:
    """Logits, float32 [B, 1, 1, classes], as a 1x1 convolution named `Logits/<logits>`."""
    with tf.compat.v1.variable_scope("Logits"):
        pooled = tf.cast(tf.reduce_mean(features, [1, 2], keepdims=True), tf.float32)
        pooled = layers.dropout(pooled, DROPOUT_KEEP_PROBABILITY, scope=dropout)
        return layers.conv2d(
            pooled, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope=logits
        )


def auxiliary_features(features: tf.Tensor, convolution: str) -> tf.Tensor:
    """float32 [B, 1, 1, 768] of a 17x17 feature map, for an own head.

    Szegedy et al., 2015, figure 8.
    The last convolution takes all that is left by the pooling before it: 5x5 for 299 pixels.
    """
    features = layers.avg_pool2d(features, [5, 5], stride=3, padding="VALID")
    features = layers.conv2d(features, 128, [1, 1], scope="Conv2d_1b_1x1")
    size = list(features.shape[1:3])
    initializer = tf.compat.v1.truncated_normal_initializer(stddev=0.01)
    features = layers.conv2d(
        features,
        768,
        size,
        weights_initializer=initializer,
        padding="VALID",
        scope=convolution.format(*size),
    )
    return tf.cast(features, tf.float32)
