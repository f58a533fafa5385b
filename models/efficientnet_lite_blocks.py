"""The blocks of EfficientNet-Lite 0 to 4: which they are, how they scale, what they are called.

Tan and Le, 2019 (EfficientNet), with the changes of EfficientNet-Lite (TensorFlow blog, March
2020): no squeeze-and-excitation, ReLU6 for swish, stem and head of fixed width, first and last
stage of fixed depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
