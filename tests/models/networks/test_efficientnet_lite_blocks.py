from __future__ import annotations

import itertools

import pytest

from models.networks.efficientnet_lite import VARIANTS, blocks, scaled_filters

# Published scaling: blocks of each stage and their output filters.
REPEATS = (
    (1, 2, 2, 3, 3, 4, 1),
    (1, 3, 3, 4, 4, 5, 1),
    (1, 3, 3, 4, 4, 5, 1),
    (1, 3, 3, 5, 5, 6, 1),
    (1, 4, 4, 6, 6, 8, 1),
)
FILTERS = (
    (16, 24, 40, 80, 112, 192, 320),
    (16, 24, 40, 80, 112, 192, 320),
    (16, 24, 48, 88, 120, 208, 352),
    (24, 32, 48, 96, 136, 232, 384),
    (24, 32, 56, 112, 160, 272, 448),
)
KERNELS = (3, 3, 5, 3, 5, 5, 3)
STRIDES = (1, 2, 2, 2, 1, 2, 1)


@pytest.mark.parametrize("variant", range(5))
def test_stages_are_the_published_ones(variant):
    actual = [
        (block.filters, block.kernel_size, block.strides) for block in blocks(VARIANTS[variant])
    ]
    expected = [
        (filters, kernel, strides if repeat == 0 else 1)
        for count, filters, kernel, strides in zip(
            REPEATS[variant], FILTERS[variant], KERNELS, STRIDES, strict=True
        )
        for repeat in range(count)
    ]
    assert actual == expected


def test_each_block_takes_what_the_one_before_gives():
    for variant in VARIANTS:
        chain = blocks(variant)
        assert chain[0].input_filters == 32
        for before, block in itertools.pairwise(chain):
            assert block.input_filters == before.filters


@pytest.mark.parametrize(("variant", "count"), [(0, 16), (1, 21), (2, 21), (3, 24), (4, 30)])
def test_survival_falls_linearly_over_the_scaled_number_of_blocks(variant, count):
    chain = blocks(VARIANTS[variant])
    assert len(chain) == count
    assert chain[0].keep_probability == 1.0
    assert chain[-1].keep_probability == pytest.approx(1.0 - 0.2 * (count - 1) / count)
    assert chain[count // 2].keep_probability == pytest.approx(1.0 - 0.2 * (count // 2) / count)


def test_filters_never_fall_by_more_than_a_tenth():
    # 24 * 1.2 = 28.8 -> 32; 40 * 1.1 = 44 -> 48; 1.4 * 80 = 112; 8 * 1.4 = 11.2: 8 would lose 29%.
    assert [scaled_filters(*pair) for pair in ((24, 1.2), (40, 1.1), (80, 1.4), (8, 1.4))] == [
        32,
        48,
        112,
        16,
    ]
