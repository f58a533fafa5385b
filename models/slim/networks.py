"""Builders of the TF-Slim networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tf_slim.nets import (
    alexnet,
    inception_v1,
    inception_v2,
    inception_v3,
    overfeat,
    resnet_v1,
    resnet_v2,
    vgg,
)

from models.layers.pixel_normalization import IMAGENET_CENTERED, PLUS_MINUS_ONE
from models.model_spec import BuildConfig
from models.network import Network
from models.slim import arg_scopes, layers
from models.slim.adapter import slim_network
from models.slim.inception_v4 import auxiliary_features, inception_v4, pooled_logits
from models.slim.mobilenet import mobilenet_v1, mobilenet_v2

# Function, initial bias and padding of poolings.
PLAIN: dict[str, Any] = {
    "alexnet_v2": (alexnet.alexnet_v2, 0.1, "VALID"),
    "overfeat": (overfeat.overfeat, 0.0, "VALID"),
    "vgg_a": (vgg.vgg_a, 0.0, "VALID"),
    "vgg_16": (vgg.vgg_16, 0.0, "VALID"),
    "vgg_19": (vgg.vgg_19, 0.0, "VALID"),
}
ACTIVATIONS = {"relu": tf.nn.relu, "relu6": tf.nn.relu6}


def build_plain(config: BuildConfig, minimum_image_size: int, centered: bool) -> Network:
    """Builds AlexNet v2, OverFeat or VGG, which have no batch norm.

    Dense layers are convolutions; on images larger than the network's own the logits are averaged.
    """
    function, bias, pool_padding = PLAIN[config.name]

    def network(images: tf.Tensor, is_training: bool) -> tf.Tensor:
        with arg_scopes.plain(bias, pool_padding):
            logits, _ = function(images, config.num_classes, is_training, spatial_squeeze=False)
        return logits

    return _build(config, network, minimum_image_size, centered)


def build_inception(config: BuildConfig, version: int, batch_norm: bool = True) -> Network:
    """Builds Inception v1 to v4; v3 and v4 have auxiliary logits."""
    function = {1: _inception_v1, 2: _inception_v2, 3: _inception_v3, 4: inception_v4}[version]

    def network(images: tf.Tensor, is_training: bool) -> Any:
        with arg_scopes.inception(is_training, config.sync_batch_norm, batch_norm):
            return function(images, config.num_classes)

    # v3 and v4 pad little, and their auxiliary head needs a feature map of 5 x 5.
    return _build(config, network, 32 if version < 3 else 107)


def build_resnet(config: BuildConfig, version: int, depth: int, centered: bool) -> Network:
    """Builds ResNet v1 or v2 of 50, 101 or 152 layers."""
    module = {1: resnet_v1, 2: resnet_v2}[version]
    function = getattr(module, f"resnet_v{version}_{depth}")

    def network(images: tf.Tensor, is_training: bool) -> tf.Tensor:
        with arg_scopes.resnet(is_training, config.sync_batch_norm):
            logits, _ = function(images, config.num_classes, is_training)
        return logits

    return _build(config, network, 32, centered)


def build_mobilenet(
    config: BuildConfig, version: int, activation: str = "relu", width: float = 1.0
) -> Network:
    """Builds MobileNet v1, which ignores `width`, or v2."""

    def network(images: tf.Tensor, is_training: bool) -> tf.Tensor:
        with arg_scopes.mobilenet(is_training, config.sync_batch_norm, ACTIVATIONS[activation]):
            if version == 1:
                return mobilenet_v1(images, config.num_classes)
            return mobilenet_v2(images, config.num_classes, width)

    return _build(config, network, 32)


def _build(
    config: BuildConfig,
    network: Callable[[tf.Tensor, bool], Any],
    minimum_image_size: int,
    centered: bool = False,
) -> Network:
    config.check(minimum_image_size=minimum_image_size, nhwc_only=True)
    return slim_network(config, IMAGENET_CENTERED if centered else PLUS_MINUS_ONE, network)


def _inception_v1(images: tf.Tensor, num_classes: int) -> tf.Tensor:
    base: Any = inception_v1.inception_v1_base
    features, _ = base(images)
    with tf.compat.v1.variable_scope("InceptionV1"):
        return pooled_logits(features, num_classes, "Dropout_0b", "Conv2d_0c_1x1")


def _inception_v2(images: tf.Tensor, num_classes: int) -> tf.Tensor:
    base: Any = inception_v2.inception_v2_base
    features, _ = base(images, scope="InceptionV2")
    with tf.compat.v1.variable_scope("InceptionV2"):
        return pooled_logits(features, num_classes, "Dropout_1b", "Conv2d_1c_1x1")


def _inception_v3(images: tf.Tensor, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    base: Any = inception_v3.inception_v3_base
    features, end_points = base(images, scope="InceptionV3")
    initializer = tf.compat.v1.truncated_normal_initializer(stddev=0.001)
    with tf.compat.v1.variable_scope("InceptionV3"):
        with tf.compat.v1.variable_scope("AuxLogits"):
            aux_logits = layers.conv2d(
                auxiliary_features(end_points["Mixed_6e"], "Conv2d_2a_{}x{}"),
                num_classes,
                [1, 1],
                activation_fn=None,
                normalizer_fn=None,
                weights_initializer=initializer,
                scope="Conv2d_2b_1x1",
            )
        logits = pooled_logits(features, num_classes, "Dropout_1b", "Conv2d_1c_1x1")
    return logits, aux_logits
