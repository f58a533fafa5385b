"""Inception v4 (Szegedy et al., 2016, figures 3 to 9), and the heads of all Inception networks.

Scopes are those of slim's checkpoint. The heads of tf_slim.nets pool a window of 7 or 8 pixels, for
images of one size; these average over all pixels and are the same for images of that size.
"""

from __future__ import annotations

import tensorflow as tf
from tf_slim.ops.arg_scope import arg_scope

from models.slim import layers

DROPOUT_KEEP_PROBABILITY = 0.8


def inception_v4(images: tf.Tensor, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns logits and auxiliary logits, float32 [B, classes].

    Args:
        images: [B, H, W, 3], at least 107 x 107 pixels.
    """
    with (
        tf.compat.v1.variable_scope("InceptionV4"),
        arg_scope([layers.conv2d, layers.max_pool2d, layers.avg_pool2d], stride=1, padding="SAME"),
    ):
        features = _stem(images)
        for letter in "bcde":
            features = _block_a(features, f"Mixed_5{letter}")
        features = _reduction_a(features, "Mixed_6a")
        for letter in "bcdefgh":
            features = _block_b(features, f"Mixed_6{letter}")
        with tf.compat.v1.variable_scope("AuxLogits"):
            # The published name is 2a for every size.
            auxiliary = tf.squeeze(auxiliary_features(features, "Conv2d_2a"), [1, 2])
            aux_logits = _dense(auxiliary, num_classes, "Aux_logits")
        features = _reduction_b(features, "Mixed_7a")
        for letter in "bcd":
            features = _block_c(features, f"Mixed_7{letter}")
        with tf.compat.v1.variable_scope("Logits"):
            pooled = tf.cast(tf.reduce_mean(features, [1, 2]), tf.float32)
            pooled = layers.dropout(pooled, DROPOUT_KEEP_PROBABILITY, scope="Dropout_1b")
            logits = _dense(pooled, num_classes, "Logits")
    return logits, aux_logits


def _dense(features: tf.Tensor, num_classes: int, scope: str) -> tf.Tensor:
    return layers.fully_connected(features, num_classes, activation_fn=None, scope=scope)


def _branch(features: tf.Tensor, index: int, *convolutions: tuple[str, int, int, int]) -> tf.Tensor:
    """Applies a chain of convolutions: (position in slim's name, filters, height, width).

    At position "1a" a convolution halves the feature map.
    """
    with tf.compat.v1.variable_scope(f"Branch_{index}"):
        for position, filters, height, width in convolutions:
            is_reduction = position == "1a"
            features = layers.conv2d(
                features,
                filters,
                [height, width],
                stride=2 if is_reduction else 1,
                padding="VALID" if is_reduction else "SAME",
                scope=f"Conv2d_{position}_{height}x{width}",
            )
    return features


def _pool_branch(features: tf.Tensor, index: int, filters: int) -> tf.Tensor:
    pooled = layers.avg_pool2d(features, [3, 3])
    return _branch(pooled, index, ("0b", filters, 1, 1))


def _reduced_pool(features: tf.Tensor) -> tf.Tensor:
    return layers.max_pool2d(features, [3, 3], stride=2, padding="VALID")


def _stem(images: tf.Tensor) -> tf.Tensor:
    features = layers.conv2d(images, 32, [3, 3], stride=2, padding="VALID", scope="Conv2d_1a_3x3")
    features = layers.conv2d(features, 32, [3, 3], padding="VALID", scope="Conv2d_2a_3x3")
    features = layers.conv2d(features, 64, [3, 3], scope="Conv2d_2b_3x3")
    with tf.compat.v1.variable_scope("Mixed_3a"):
        with tf.compat.v1.variable_scope("Branch_1"):
            convolved = layers.conv2d(
                features, 96, [3, 3], stride=2, padding="VALID", scope="Conv2d_0a_3x3"
            )
        features = tf.concat([_reduced_pool(features), convolved], 3)
    with tf.compat.v1.variable_scope("Mixed_4a"):
        branches = []
        factorized = (("0b", 64, 1, 7), ("0c", 64, 7, 1))
        for index, middle in enumerate(((), factorized)):
            branch = _branch(features, index, ("0a", 64, 1, 1), *middle)
            with tf.compat.v1.variable_scope(f"Branch_{index}"):
                branches.append(
                    layers.conv2d(branch, 96, [3, 3], padding="VALID", scope="Conv2d_1a_3x3")
                )
        features = tf.concat(branches, 3)
    with tf.compat.v1.variable_scope("Mixed_5a"):
        convolved = _branch(features, 0, ("1a", 192, 3, 3))
        return tf.concat([convolved, _reduced_pool(features)], 3)


def _block_a(features: tf.Tensor, scope: str) -> tf.Tensor:
    with tf.compat.v1.variable_scope(scope):
        branches = [
            _branch(features, 0, ("0a", 96, 1, 1)),
            _branch(features, 1, ("0a", 64, 1, 1), ("0b", 96, 3, 3)),
            _branch(features, 2, ("0a", 64, 1, 1), ("0b", 96, 3, 3), ("0c", 96, 3, 3)),
            _pool_branch(features, 3, 96),
        ]
        return tf.concat(branches, 3)


def _reduction_a(features: tf.Tensor, scope: str) -> tf.Tensor:
    with tf.compat.v1.variable_scope(scope):
        branches = [
            _branch(features, 0, ("1a", 384, 3, 3)),
            _branch(features, 1, ("0a", 192, 1, 1), ("0b", 224, 3, 3), ("1a", 256, 3, 3)),
            _reduced_pool(features),
        ]
        return tf.concat(branches, 3)


def _block_b(features: tf.Tensor, scope: str) -> tf.Tensor:
    with tf.compat.v1.variable_scope(scope):
        branches = [
            _branch(features, 0, ("0a", 384, 1, 1)),
            _branch(features, 1, ("0a", 192, 1, 1), ("0b", 224, 1, 7), ("0c", 256, 7, 1)),
            _branch(
                features,
                2,
                ("0a", 192, 1, 1),
                ("0b", 192, 7, 1),
                ("0c", 224, 1, 7),
                ("0d", 224, 7, 1),
                ("0e", 256, 1, 7),
            ),
            _pool_branch(features, 3, 128),
        ]
        return tf.concat(branches, 3)


def _reduction_b(features: tf.Tensor, scope: str) -> tf.Tensor:
    with tf.compat.v1.variable_scope(scope):
        factorized = (("0a", 256, 1, 1), ("0b", 256, 1, 7), ("0c", 320, 7, 1))
        branches = [
            _branch(features, 0, ("0a", 192, 1, 1), ("1a", 192, 3, 3)),
            _branch(features, 1, *factorized, ("1a", 320, 3, 3)),
            _reduced_pool(features),
        ]
        return tf.concat(branches, 3)


def _block_c(features: tf.Tensor, scope: str) -> tf.Tensor:
    with tf.compat.v1.variable_scope(scope):
        first = _branch(features, 1, ("0a", 384, 1, 1))
        second = _branch(features, 2, ("0a", 384, 1, 1), ("0b", 448, 3, 1), ("0c", 512, 1, 3))
        branches = [
            _branch(features, 0, ("0a", 256, 1, 1)),
            _branch(first, 1, ("0b", 256, 1, 3)),
            _branch(first, 1, ("0c", 256, 3, 1)),
            _branch(second, 2, ("0d", 256, 1, 3)),
            _branch(second, 2, ("0e", 256, 3, 1)),
            _pool_branch(features, 3, 256),
        ]
        return tf.concat(branches, 3)


def pooled_logits(features: tf.Tensor, num_classes: int, dropout: str, logits: str) -> tf.Tensor:
    """Returns logits, float32 [B, 1, 1, classes], of a 1x1 convolution named `Logits/<logits>`."""
    with tf.compat.v1.variable_scope("Logits"):
        pooled = tf.cast(tf.reduce_mean(features, [1, 2], keepdims=True), tf.float32)
        pooled = layers.dropout(pooled, DROPOUT_KEEP_PROBABILITY, scope=dropout)
        return layers.conv2d(
            pooled, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope=logits
        )


def auxiliary_features(features: tf.Tensor, convolution: str) -> tf.Tensor:
    """Returns the features of the auxiliary head, float32 [B, 1, 1, 768].

    Szegedy et al., 2015, figure 8. The last convolution covers the whole map that pooling leaves:
    5x5 for images of 299 pixels.

    Args:
        convolution: name of the last convolution; `{}` stands for its height and width.
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
