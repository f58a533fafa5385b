"""EfficientNet-Lite 0 to 4, with the layer names of the official TF1 checkpoints.

Tan and Le, 2019 (EfficientNet), with the changes of EfficientNet-Lite (TensorFlow blog, March
2020): no squeeze-and-excitation, ReLU6 instead of swish, stem and head of fixed width, first and
last stage of fixed depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras

from models.layer_factory import LayerFactory, fan_out_normal
from models.layers.pixel_normalization import PixelRange
from models.model_spec import BuildConfig
from models.network import Network

MINIMUM_IMAGE_SIZE = 32
PIXEL_RANGE = PixelRange(127.0, 128.0)
IMAGENET_CLASSES = 1000
STEM_FILTERS = 32
HEAD_FILTERS = 1280
LAST_BLOCK_SURVIVAL = 0.8


def build(config: BuildConfig, variant: int) -> Network:
    """Builds variant 0 to 4; its variables lie under the scope of the official checkpoints."""
    config.check(minimum_image_size=MINIMUM_IMAGE_SIZE)
    factory = layer_factory(config)
    images = keras.Input((config.image_size, config.image_size, 3), name="images")
    features = add_features(factory, variant, factory.pixels(images, PIXEL_RANGE))
    logits = add_classifier(factory, variant, features, config.num_classes)
    return config.network(images, logits, scope=official_scope(variant))


def layer_factory(config: BuildConfig) -> LayerFactory:
    """Returns the factory of EfficientNet-Lite's layers."""
    return config.layers(kernel_initializer=fan_out_normal(), bn_momentum=0.99, bn_epsilon=1e-3)


def official_scope(variant: int) -> str:
    """Returns the first part of the names in an official checkpoint."""
    return f"efficientnet-lite{variant}"


def add_features(factory: LayerFactory, variant: int, pixels: Any) -> Any:
    """Adds stem, blocks and the last convolution.

    Args:
        pixels: a Keras tensor [B, H, W, 3], normalized.

    Returns:
        The features, [B, H/32, W/32, 1280].
    """
    outputs = factory.convolution("stem.conv2d", STEM_FILTERS, 3, strides=2)(pixels)
    outputs = factory.batch_norm("stem.tpu_batch_normalization")(outputs)
    outputs = factory.relu("stem.relu6", max_value=6.0)(outputs)
    for block in blocks(VARIANTS[variant]):
        outputs = _add_block(factory, block, outputs)
    outputs = factory.convolution("head.conv2d", HEAD_FILTERS, 1)(outputs)
    outputs = factory.batch_norm("head.tpu_batch_normalization")(outputs)
    return factory.relu("head.relu6", max_value=6.0)(outputs)


def add_classifier(
    factory: LayerFactory,
    variant: int,
    features: Any,
    num_classes: int,
    activation: Any = None,
) -> Any:
    """Adds pooling, dropout and the dense layer.

    Returns:
        The logits after `activation`, float32 [B, num_classes].
    """
    outputs = factory.global_average_pooling("head.pool")(features)
    outputs = factory.dropout("head.dropout", VARIANTS[variant].dropout)(outputs)
    # The official rule is +-1 / sqrt(num_classes). It ignores the 1280 inputs: with 4 classes the
    # first loss would be 10, not log(4) = 1.4. The range is therefore never wider than ImageNet's.
    limit = 1.0 / math.sqrt(max(num_classes, IMAGENET_CLASSES))
    initializer = keras.initializers.RandomUniform(-limit, limit)
    return factory.classifier("head.dense", num_classes, initializer, activation)(outputs)


def _add_block(factory: LayerFactory, block: Block, inputs: Any) -> Any:
    """Adds an inverted residual: expand 1x1, filter depthwise, project 1x1 without activation."""
    scope = f"blocks_{block.index}"
    # TF1 numbered layers in the order of creation: without the expansion all numbers are one less.
    norm_names = iter(f"{scope}.tpu_batch_normalization{suffix}" for suffix in ("", "_1", "_2"))
    convolution_names = iter((f"{scope}.conv2d", f"{scope}.conv2d_1"))
    features = inputs
    if block.expansion != 1:
        expanded = block.input_filters * block.expansion
        features = factory.convolution(next(convolution_names), expanded, 1)(features)
        features = factory.batch_norm(next(norm_names))(features)
        features = factory.relu(f"{scope}.expand_relu6", max_value=6.0)(features)
    depthwise = f"{scope}.depthwise_conv2d"
    features = factory.depthwise_convolution(depthwise, block.kernel_size, strides=block.strides)(
        features
    )
    features = factory.batch_norm(next(norm_names))(features)
    features = factory.relu(f"{scope}.depthwise_relu6", max_value=6.0)(features)
    features = factory.convolution(next(convolution_names), block.filters, 1)(features)
    features = factory.batch_norm(next(norm_names))(features)
    if not block.is_residual:
        return features
    features = factory.stochastic_depth(f"{scope}.drop", block.keep_probability)(features)
    return factory.add(f"{scope}.add")([features, inputs])


@dataclass(frozen=True)
class Variant:
    """Multipliers of filters and of repeats, and the dropout rate before the classifier."""

    width: float
    depth: float
    dropout: float


VARIANTS = (
    Variant(width=1.0, depth=1.0, dropout=0.2),
    Variant(width=1.0, depth=1.1, dropout=0.2),
    Variant(width=1.1, depth=1.2, dropout=0.3),
    Variant(width=1.2, depth=1.4, dropout=0.3),
    Variant(width=1.4, depth=1.8, dropout=0.3),
)


@dataclass(frozen=True)
class Stage:
    """Blocks that are equal, except that the first strides and changes the number of filters."""

    repeats: int
    kernel_size: int
    strides: int
    expansion: int
    filters: int


STAGES = (
    Stage(repeats=1, kernel_size=3, strides=1, expansion=1, filters=16),
    Stage(repeats=2, kernel_size=3, strides=2, expansion=6, filters=24),
    Stage(repeats=2, kernel_size=5, strides=2, expansion=6, filters=40),
    Stage(repeats=3, kernel_size=3, strides=2, expansion=6, filters=80),
    Stage(repeats=3, kernel_size=5, strides=1, expansion=6, filters=112),
    Stage(repeats=4, kernel_size=5, strides=2, expansion=6, filters=192),
    Stage(repeats=1, kernel_size=3, strides=1, expansion=6, filters=320),
)


@dataclass(frozen=True)
class Block:
    """One inverted residual; `expansion` multiplies its input filters."""

    index: int
    kernel_size: int
    strides: int
    expansion: int
    input_filters: int
    filters: int
    keep_probability: float

    @property
    def is_residual(self) -> bool:
        """Returns whether the input is added to the output."""
        return self.strides == 1 and self.input_filters == self.filters


def scaled_filters(filters: int, width: float) -> int:
    """Returns filters * width as the nearest multiple of 8, never more than 10% below it."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def scaled_repeats(stage_index: int, depth: float) -> int:
    """Returns the number of blocks of a stage; the first and the last stage do not scale."""
    repeats = STAGES[stage_index].repeats
    is_fixed = stage_index in (0, len(STAGES) - 1)
    return repeats if is_fixed else math.ceil(depth * repeats)


def blocks(variant: Variant) -> list[Block]:
    """Returns all blocks in order; of N, branch i survives with probability 1 - 0.2 i / N."""
    repeats = [scaled_repeats(index, variant.depth) for index in range(len(STAGES))]
    total = sum(repeats)
    result: list[Block] = []
    input_filters = STEM_FILTERS
    for stage, count in zip(STAGES, repeats, strict=True):
        filters = scaled_filters(stage.filters, variant.width)
        for repeat in range(count):
            index = len(result)
            result.append(
                Block(
                    index=index,
                    kernel_size=stage.kernel_size,
                    strides=stage.strides if repeat == 0 else 1,
                    expansion=stage.expansion,
                    input_filters=input_filters,
                    filters=filters,
                    keep_probability=1.0 - (1.0 - LAST_BLOCK_SURVIVAL) * index / total,
                )
            )
            input_filters = filters
    return result
