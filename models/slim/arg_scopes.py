"""The defaults of slim layers in each family of networks, with tf-imagenet's constants.

They replace the arg scopes of tf_slim.nets, whose regularizers would add a second weight decay and
whose batch norm collects updates for a session.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import tensorflow as tf
from tf_slim.layers import initializers
from tf_slim.ops.arg_scope import arg_scope

from models.slim import layers


@dataclass(frozen=True)
class BatchNorm:
    """Constants of a family's batch norm; with `scale` it has a gamma."""

    decay: float
    epsilon: float
    scale: bool


INCEPTION_BATCH_NORM = BatchNorm(decay=0.9997, epsilon=1e-3, scale=False)
MOBILENET_BATCH_NORM = BatchNorm(decay=0.9997, epsilon=1e-3, scale=True)
RESNET_BATCH_NORM = BatchNorm(decay=0.997, epsilon=1e-5, scale=True)


@contextlib.contextmanager
def plain(bias: float = 0.0, pool_padding: str = "VALID") -> Iterator[None]:
    """Opens the scope of AlexNet, OverFeat and VGG: biases, no batch norm."""
    initializer = tf.compat.v1.constant_initializer(bias)
    with (
        arg_scope([layers.conv2d, layers.fully_connected], biases_initializer=initializer),
        arg_scope([layers.conv2d], padding="SAME"),
        arg_scope([layers.max_pool2d], padding=pool_padding),
    ):
        yield


@contextlib.contextmanager
def inception(is_training: bool, synchronized: bool, batch_norm: bool = True) -> Iterator[None]:
    """Opens the scope of Inception; GoogLeNet is Inception v1 without batch norm."""
    with (
        _normalized(INCEPTION_BATCH_NORM, is_training, synchronized, normalize=batch_norm),
        arg_scope([layers.conv2d], weights_initializer=initializers.variance_scaling_initializer()),
    ):
        yield


@contextlib.contextmanager
def resnet(is_training: bool, synchronized: bool) -> Iterator[None]:
    """Opens the scope of ResNet v1 and v2: pooling is padded as convolutions are."""
    with (
        _normalized(RESNET_BATCH_NORM, is_training, synchronized),
        arg_scope([layers.conv2d], weights_initializer=initializers.variance_scaling_initializer()),
        arg_scope([layers.max_pool2d], padding="SAME"),
    ):
        yield


@contextlib.contextmanager
def mobilenet(is_training: bool, synchronized: bool, activation_fn: Any) -> Iterator[None]:
    """Opens the scope of MobileNet v1 and v2."""
    with (
        _normalized(MOBILENET_BATCH_NORM, is_training, synchronized),
        arg_scope(
            [layers.conv2d, layers.depthwise_conv2d],
            activation_fn=activation_fn,
            weights_initializer=tf.compat.v1.truncated_normal_initializer(stddev=0.09),
        ),
    ):
        yield


@contextlib.contextmanager
def _normalized(
    batch_norm: BatchNorm, is_training: bool, synchronized: bool, normalize: bool = True
) -> Iterator[None]:
    constants = {**asdict(batch_norm), "synchronized": synchronized}
    with (
        arg_scope([layers.batch_norm], is_training=is_training, **constants),
        arg_scope([layers.dropout], is_training=is_training),
        arg_scope(
            [layers.conv2d, layers.depthwise_conv2d],
            normalizer_fn=layers.batch_norm if normalize else None,
        ),
    ):
        yield
