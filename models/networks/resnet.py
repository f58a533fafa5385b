"""ResNet-50 v1.5: He et al., 2015, with the stride of a bottleneck in its 3x3 convolution."""

from __future__ import annotations

from typing import Any

import keras

from models.layer_factory import LayerFactory
from models.layers.pixel_normalization import IMAGENET
from models.model_spec import BuildConfig
from models.network import Network

BOTTLENECK_FILTERS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4
RESNET50_BLOCKS = (3, 4, 6, 3)


def build(
    config: BuildConfig,
    blocks: tuple[int, ...] = RESNET50_BLOCKS,
    zero_init_residual: bool = True,
) -> Network:
    """Builds a bottleneck ResNet of four stages, conv2_x to conv5_x of He et al., table 1.

    Variables: <name>/stem/{conv2d/kernel, batch_norm/gamma ...}, then
    <name>/stage<1..4>/block<1..>/{conv1,conv2,conv3,shortcut}/{conv2d,batch_norm}/...,
    <name>/head/dense/{kernel,bias}. `shortcut` is the projection of a stage's first block.

    Convolutions start from He's normal distribution, the classifier from one of std 0.01 (Goyal et
    al., 2017, section 5.1). Strided layers pad both sides equally, as in torchvision and
    keras.applications; TensorFlow's "same" would shift images of even size by a pixel.

    Args:
        blocks: number of blocks of each stage.
        zero_init_residual: start the last gamma of every block at zero, so that every block starts
            as the identity (Goyal et al.).
    """
    config.check(minimum_image_size=32)
    factory = config.layers(kernel_initializer="he_normal", bn_momentum=0.9, bn_epsilon=1e-5)
    last_gamma = "zeros" if zero_init_residual else "ones"
    images = keras.Input((config.image_size, config.image_size, 3), name="images")
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
    logits = factory.classifier("head.dense", config.num_classes, initializer)(features)
    return config.network(images, logits)


def _stem(factory: LayerFactory, images: Any) -> Any:
    features = factory.pixels(images, IMAGENET)
    features = _convolution(factory, "stem", features, 64, 7, strides=2)
    features = factory.relu("stem.relu")(features)
    # Padding with zeros equals padding with minus infinity here: no value is negative after a ReLU.
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
    """Adds 1x1 down to `filters`, 3x3, 1x1 up to 4 * filters, to the input or its projection."""
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
    """Applies a convolution, padded equally on both sides, and batch norm."""
    padding = "same"
    if strides > 1 and kernel_size > 1:
        inputs = factory.zero_padding(f"{scope}.padding", kernel_size // 2)(inputs)
        padding = "valid"
    features = factory.convolution(
        f"{scope}.conv2d", filters, kernel_size, strides=strides, padding=padding
    )(inputs)
    return factory.batch_norm(f"{scope}.batch_norm", gamma_initializer=gamma)(features)
