"""ResNet-50 v1.5: He et al., 2015, with the stride of a bottleneck in its 3x3 convolution."""

from __future__ import annotations

from typing import Any

import keras

from models.layer_factory import LayerFactory
from models.layers.pixel_normalization import IMAGENET_MEAN, IMAGENET_STD
from models.model_spec import check_image_size
from models.network import Network, keras_network

MINIMUM_IMAGE_SIZE = 32
BOTTLENECK_FILTERS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4
RESNET50_BLOCKS = (3, 4, 6, 3)


def build(
    *,
    name: str,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
    blocks: tuple[int, ...] = RESNET50_BLOCKS,
    zero_init_residual: bool = True,
) -> Network:
    """A bottleneck ResNet; `blocks` counts the blocks of its four stages.

    Variables: <name>/stem/{conv2d/kernel, batch_norm/gamma ...}, then
    <name>/stage<1..4>/block<1..>/{conv1,conv2,conv3,shortcut}/{conv2d,batch_norm}/...,
    <name>/head/dense/{kernel,bias}. The stages are conv2_x to conv5_x of He et al., table 1;
    `shortcut` is the projection of a stage's first block.

    Initial values are those of Goyal et al., 2017, section 5.1: He initialization, normal with std
    0.01 for the classifier, and, with `zero_init_residual`, a zero gamma in the last batch norm of
    every block, so that every block starts as the identity. Strided layers pad both sides alike, as
    in torchvision and keras.applications (TensorFlow's "same" would shift even-sized images by a
    pixel).
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
    last_gamma = "zeros" if zero_init_residual else "ones"
    images = keras.Input((image_size, image_size, 3), name="images")
    features = _stem(factory, images)
    for stage, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if block == 0 and stage > 0 else 1
            scope = f"stage{stage + 1}.block{block + 1}"
            features = _bottleneck(
                factory, scope, features, BOTTLENECK_FILTERS[stage], strides, block == 0, last_gamma
            )
    features = factory.global_average_pooling("head.pool")(features)
    initializer = keras.initializers.RandomNormal(stddev=0.01)
    logits = factory.classifier("head.dense", num_classes, initializer)(features)
    model = keras.Model(images, logits, name=name)
    return keras_network(model, scope=name, name=name, background_class=background_class)


def _stem(factory: LayerFactory, images: Any) -> Any:
    features = factory.pixels(images, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    features = _convolution(factory, "stem", features, 64, 7, strides=2)
    features = factory.relu("stem.relu")(features)
    # Zeros are as good as minus infinity here: after a ReLU no value is below them.
    features = factory.zero_padding("stem.pool_padding", 1)(features)
    return factory.max_pooling("stem.pool", 3, 2)(features)


def _bottleneck(
    factory: LayerFactory,
    scope: str,
    inputs: Any,
    filters: int,
    strides: int,
    project: bool,
    last_gamma: str,
) -> Any:
    """1x1 down to `filters`, 3x3, 1x1 up to 4 * filters, plus the input or its projection."""
    outer = filters * BOTTLENECK_EXPANSION
    shortcut = inputs
    if project:
        shortcut = _convolution(factory, f"{scope}.shortcut", inputs, outer, 1, strides=strides)
    features = _convolution(factory, f"{scope}.conv1", inputs, filters, 1)
    features = factory.relu(f"{scope}.conv1.relu")(features)
    features = _convolution(factory, f"{scope}.conv2", features, filters, 3, strides=strides)
    features = factory.relu(f"{scope}.conv2.relu")(features)
    features = _convolution(factory, f"{scope}.conv3", features, outer, 1, gamma=last_gamma)
    features = factory.add(f"{scope}.add")([features, shortcut])
    return factory.relu(f"{scope}.relu")(features)


def _convolution(
    factory: LayerFactory,
    scope: str,
    inputs: Any,
    filters: int,
    kernel_size: int,
    *,
    strides: int = 1,
    gamma: str = "ones",
) -> Any:
    """Convolution and batch norm, padded alike on both sides."""
    padding = "same"
    if strides > 1 and kernel_size > 1:
        inputs = factory.zero_padding(f"{scope}.padding", kernel_size // 2)(inputs)
        padding = "valid"
    features = factory.convolution(
        f"{scope}.conv2d", filters, kernel_size, strides=strides, padding=padding
    )(inputs)
    return factory.batch_norm(f"{scope}.batch_norm", gamma_initializer=gamma)(features)
