"""Builds every TF-Slim network; models/registry.py names them."""

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

from models.model_spec import NetworkOptionError, check_image_size
from models.network import Network
from models.slim import arg_scopes, layers
from models.slim.adapter import CENTERED, PLUS_MINUS_ONE, slim_network
from models.slim.inception_v4 import auxiliary_features, inception_v4, pooled_logits
from models.slim.mobilenet import mobilenet_v1, mobilenet_v2

PLAIN: dict[str, Any] = {
    "alexnet_v2": (alexnet.alexnet_v2, 0.1, "VALID"),
    "overfeat": (overfeat.overfeat, 0.0, "VALID"),
    "vgg_a": (vgg.vgg_a, 0.0, "VALID"),
    "vgg_16": (vgg.vgg_16, 0.0, "VALID"),
    "vgg_19": (vgg.vgg_19, 0.0, "VALID"),
}
ACTIVATIONS = {"relu": tf.nn.relu, "relu6": tf.nn.relu6}


def build_plain(*, minimum_image_size: int, sync_batch_norm: bool, **options: Any) -> Network:
    """AlexNet v2, OverFeat, VGG: no batch norm, so `sync_batch_norm` changes nothing.

    Dense layers are convolutions; on images larger than the network's own its logits are averaged.
    """
    function, bias, pool_padding = PLAIN[options["name"]]

    def network(images: tf.Tensor, num_classes: int, is_training: bool) -> tf.Tensor:
        with arg_scopes.plain(bias, pool_padding):
            logits, _ = function(images, num_classes, is_training, spatial_squeeze=False)
        return logits

    return _build(network, minimum_image_size, **options)


def build_inception(
    *, version: int, batch_norm: bool = True, sync_batch_norm: bool, **options: Any
) -> Network:
    """Inception v1 to v4; the last two also have auxiliary logits."""
    function = {1: _inception_v1, 2: _inception_v2, 3: _inception_v3, 4: inception_v4}[version]

    def network(images: tf.Tensor, num_classes: int, is_training: bool) -> Any:
        with arg_scopes.inception(is_training, sync_batch_norm, batch_norm):
            return function(images, num_classes)

    # v3 and v4 pad little, and their auxiliary head needs a feature map of 5 x 5.
    return _build(network, 32 if version < 3 else 107, **options)


def build_resnet(*, version: int, depth: int, sync_batch_norm: bool, **options: Any) -> Network:
    """ResNet v1 or v2 of 50, 101 or 152 layers."""
    module = {1: resnet_v1, 2: resnet_v2}[version]
    function = getattr(module, f"resnet_v{version}_{depth}")

    def network(images: tf.Tensor, num_classes: int, is_training: bool) -> tf.Tensor:
        with arg_scopes.resnet(is_training, sync_batch_norm):
            logits, _ = function(images, num_classes, is_training)
        return logits

    return _build(network, 32, **options)


def build_mobilenet(
    *,
    version: int,
    activation: str = "relu",
    width: float = 1.0,
    sync_batch_norm: bool,
    **options: Any,
) -> Network:
    """MobileNet v1, of width 1, or v2."""

    def network(images: tf.Tensor, num_classes: int, is_training: bool) -> tf.Tensor:
        with arg_scopes.mobilenet(is_training, sync_batch_norm, ACTIVATIONS[activation]):
            if version == 1:
                return mobilenet_v1(images, num_classes)
            return mobilenet_v2(images, num_classes, width)

    return _build(network, 32, **options)


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


def _build(
    network: Callable[[tf.Tensor, int, bool], Any],
    minimum_image_size: int,
    *,
    name: str,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    background_class: bool,
    centered: bool = False,
) -> Network:
    check_image_size(name, image_size, minimum_image_size)
    if data_format != "NHWC":
        raise NetworkOptionError(
            f"{name} is a TF-Slim network, they are NHWC only: leave data_format out"
        )
    return slim_network(
        lambda images, is_training: network(images, num_classes, is_training),
        name=name,
        image_size=image_size,
        dtype=dtype,
        pixel_range=CENTERED if centered else PLUS_MINUS_ONE,
        background_class=background_class,
    )
