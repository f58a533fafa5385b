"""The layers of EfficientNet-Lite, named as in the official TF1 checkpoints.

The blocks of EfficientNet-Lite 0 to 4: which they are, how they scale, what they are called.

Tan and Le, 2019 (EfficientNet), with the changes of EfficientNet-Lite (TensorFlow blog, March
2020): no squeeze-and-excitation, ReLU6 for swish, stem and head of fixed width, first and last
stage of fixed depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras

from models.layer_factory import LayerFactory
from models.model_spec import check_image_size
from models.network import Network, keras_network


def build(
    *,
    name: str,
    variant: int,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
) -> Network:
    """The network of variant 0 to 4; its checkpoint scope is "efficientnet-lite<variant>"."""
    check_image_size(name, image_size, MINIMUM_IMAGE_SIZE)
    factory = layer_factory(dtype, data_format, sync_batch_norm=sync_batch_norm)
    images = keras.Input((image_size, image_size, 3), name="images")
    pixels = factory.pixels(images, mean=PIXEL_MEAN, std=PIXEL_STD)
    features = build_features(factory, variant, pixels)
    logits = build_classifier(factory, variant, features, num_classes)
    scope = checkpoint_scope(variant)
    model = keras.Model(images, logits, name=scope)
    return keras_network(model, scope=scope, name=name, background_class=background_class)


MINIMUM_IMAGE_SIZE = 32
PIXEL_MEAN = 127.0
PIXEL_STD = 128.0
IMAGENET_CLASSES = 1000


def layer_factory(
    dtype: str, layout: str = "NHWC", *, sync_batch_norm: bool = False
) -> LayerFactory:
    """What all layers of EfficientNet-Lite have in common."""
    return LayerFactory(
        dtype=dtype,
        layout=layout,
        sync_batch_norm=sync_batch_norm,
        # std sqrt(2 / fan_out), not truncated, for convolutions and depthwise convolutions.
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        bn_momentum=0.99,
        bn_epsilon=1e-3,
    )


def checkpoint_scope(variant: int) -> str:
    """What the names of a checkpoint begin with."""
    return f"efficientnet-lite{variant}"


def build_features(factory: LayerFactory, variant: int, pixels: Any) -> Any:
    """Stem, blocks and the last convolution: [B, H, W, 3], normalized -> [B, H/32, W/32, 1280]."""
    outputs = factory.convolution("stem.conv2d", STEM_FILTERS, 3, strides=2)(pixels)
    outputs = factory.batch_norm("stem.tpu_batch_normalization")(outputs)
    outputs = factory.relu("stem.relu6", max_value=6.0)(outputs)
    for block in blocks(VARIANTS[variant]):
        outputs = _inverted_residual(factory, block, outputs)
    outputs = factory.convolution("head.conv2d", HEAD_FILTERS, 1)(outputs)
    outputs = factory.batch_norm("head.tpu_batch_normalization")(outputs)
    return factory.relu("head.relu6", max_value=6.0)(outputs)


def build_classifier(
    factory: LayerFactory,
    variant: int,
    feature_map: Any,
    num_classes: int,
    activation: Any = None,
) -> Any:
    """Pooling, dropout and the dense layer: `activation` of the logits, float32 [B, classes]."""
    outputs = factory.global_average_pooling("head.pool")(feature_map)
    outputs = factory.dropout("head.dropout", VARIANTS[variant].dropout)(outputs)
    initializer = _dense_initializer(num_classes)
    classify = factory.classifier("head.dense", num_classes, initializer, activation)
    return classify(outputs)


def _dense_initializer(num_classes: int) -> keras.initializers.Initializer:
    """Uniform within +-1 / sqrt(num_classes), the official rule, but never wider than for ImageNet.

    The rule ignores the 1280 inputs: with 4 classes the first loss would be 10, not log(4) = 1.4.
    """
    limit = 1.0 / math.sqrt(max(num_classes, IMAGENET_CLASSES))
    return keras.initializers.RandomUniform(-limit, limit)


def _inverted_residual(factory: LayerFactory, block: Block, inputs: Any) -> Any:
    """Expand 1x1, filter depthwise, project 1x1 without activation; add, where shapes allow it."""
    checkpoint_scope = f"blocks_{block.index}"
    # Numbered in the order of creation, as TF1 did: without the expansion all numbers are one less.
    numbers = iter(("", "_1", "_2"))
    convolution_name = f"{checkpoint_scope}.conv2d"
    build_features = inputs
    if block.expansion != 1:
        expanded = block.input_filters * block.expansion
        build_features = factory.convolution(convolution_name, expanded, 1)(build_features)
        build_features = factory.batch_norm(
            f"{checkpoint_scope}.tpu_batch_normalization{next(numbers)}"
        )(build_features)
        build_features = factory.relu(f"{checkpoint_scope}.expand_relu6", max_value=6.0)(
            build_features
        )
        convolution_name = f"{checkpoint_scope}.conv2d_1"
    build_features = factory.depthwise_convolution(
        f"{checkpoint_scope}.depthwise_conv2d", block.kernel_size, strides=block.strides
    )(build_features)
    build_features = factory.batch_norm(
        f"{checkpoint_scope}.tpu_batch_normalization{next(numbers)}"
    )(build_features)
    build_features = factory.relu(f"{checkpoint_scope}.depthwise_relu6", max_value=6.0)(
        build_features
    )
    build_features = factory.convolution(convolution_name, block.filters, 1)(build_features)
    build_features = factory.batch_norm(
        f"{checkpoint_scope}.tpu_batch_normalization{next(numbers)}"
    )(build_features)
    if not block.is_residual:
        return build_features
    build_features = factory.stochastic_depth(f"{checkpoint_scope}.drop", block.keep_probability)(
        build_features
    )
    return factory.add(f"{checkpoint_scope}.add")([build_features, inputs])


STEM_FILTERS = 32
HEAD_FILTERS = 1280
LAST_BLOCK_SURVIVAL = 0.8


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
    """Equal blocks; only the first strides and changes the number of filters."""

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
        """Whether the input is added to the output."""
        return self.strides == 1 and self.input_filters == self.filters


def scaled_filters(filters: int, width: float) -> int:
    """filters * width to the nearest multiple of 8, never more than 10% below it."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def scaled_repeats(stage_index: int, depth: float) -> int:
    """The blocks of a stage; the first and the last stage keep theirs."""
    repeats = STAGES[stage_index].repeats
    is_fixed = stage_index in (0, len(STAGES) - 1)
    return repeats if is_fixed else math.ceil(depth * repeats)


def blocks(variant: Variant) -> list[Block]:
    """All blocks in order; of N scaled blocks, branch i survives with probability 1 - 0.2 i / N."""
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
