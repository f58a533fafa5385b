"""Random erasing, mixup and CutMix of whole batches, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from preprocessing.augmentation.batch_augmentation import BatchAugmentation
from preprocessing.augmentation.mixup import symmetric_beta

BATCH, HEIGHT, WIDTH = 6, 20, 30
LABELS = np.arange(BATCH, dtype=np.int32)


def key(number):
    return tf.constant([number, 3], tf.int32)


def augmented(images, number, **options):
    """The images and the three parts of the labels, as arrays."""
    augmentation = tf.function(BatchAugmentation(DataParams(**options)), autograph=False)
    labels = tf.constant(np.arange(len(images), dtype=np.int32))
    images, mixed = augmentation(tf.constant(images), labels, key(number))
    return images, tuple(part.numpy() for part in mixed)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (BATCH, HEIGHT, WIDTH, 3), dtype=np.uint8)


# Shares


def arcsine_distribution(x):
    return 2 / np.pi * np.arcsin(np.sqrt(x))


@pytest.mark.parametrize(
    ("alpha", "distribution"),
    [
        (0.5, arcsine_distribution),
        (1.0, lambda x: x),
        (2.0, lambda x: x**2 * (3 - 2 * x)),
    ],
)
def test_beta_has_its_distribution(alpha, distribution):
    """Kolmogorov and Smirnov's test against the closed form, at 0.1%."""
    count = 20_000
    drawn = np.sort(symmetric_beta([count], key(1), alpha).numpy().astype(float))
    steps = np.arange(count + 1) / count
    expected = distribution(drawn)
    distance = max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max())
    assert distance < 1.95 / np.sqrt(count)


@pytest.mark.parametrize("alpha", [0.001, 0.1, 0.2, 5.0, 100.0])
def test_beta_has_its_moments_and_is_finite(alpha):
    drawn = symmetric_beta([20_000], key(2), alpha).numpy().astype(float)
    assert np.isfinite(drawn).all()
    assert ((drawn >= 0) & (drawn <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(drawn.mean() - 0.5) < 5 * np.sqrt(variance / 20_000)
    assert drawn.var() == pytest.approx(variance, rel=0.05)


# Mixup


@pytest.mark.parametrize("number_type", [np.uint8, np.float32])
def test_mixup_is_the_weighted_sum_with_the_reversed_batch(images, number_type):
    mixed, (first, second, shares) = augmented(images.astype(number_type), 4, mixup_alpha=1.0)
    assert mixed.dtype == tf.float32
    assert first.tolist() == LABELS.tolist()
    assert second.tolist() == LABELS[::-1].tolist()
    assert len(set(shares.tolist())) == BATCH
    weights = shares[:, None, None, None].astype(float)
    expected = weights * images + (1 - weights) * images[::-1]
    np.testing.assert_allclose(mixed, expected, atol=1e-4)


@pytest.mark.parametrize("number_type", [tf.float16, tf.bfloat16])
def test_mixup_keeps_a_floating_type(images, number_type):
    half = tf.cast(images, number_type)
    mixed, (_, _, shares) = augmented(half, 4, mixup_alpha=1.0)
    assert mixed.dtype == number_type
    weights = shares[:, None, None, None].astype(float)
    exact = weights * images + (1 - weights) * images[::-1]
    # Half a unit in the last place of 255: 2**-4 in float16, 2**-1 in bfloat16, with slack.
    tolerance = {tf.float16: 0.07, tf.bfloat16: 0.6}[number_type]
    np.testing.assert_allclose(tf.cast(mixed, tf.float32), exact, atol=tolerance)


def test_an_image_stays_the_larger_part_of_a_mixup(images):
    """max(w, 1 - w) of a uniform w is uniform in 0.5..1."""
    shares = np.sort(augmented(np.zeros((4000, 1, 1, 3), np.uint8), 5, mixup_alpha=1.0)[1][2])
    assert shares.min() >= 0.5
    steps = np.arange(4000) / 4000
    assert np.abs((shares - 0.5) * 2 - steps).max() < 1.95 / np.sqrt(4000)


# CutMix


def boxes_of(mixed, images):
    """(top, bottom, left, right) of what came from the reversed batch, None where nothing did."""
    for mixture, own, partner in zip(mixed, images, images[::-1], strict=True):
        replaced = (mixture != own).any(-1)
        if not replaced.any():
            yield None
            continue
        rows, columns = np.flatnonzero(replaced.any(1)), np.flatnonzero(replaced.any(0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert replaced[box].all()
        np.testing.assert_array_equal(mixture[box], partner[box])
        yield rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("number_type", [np.uint8, np.float32])
def test_cutmix_replaces_a_box_and_the_share_is_its_pixels(number_type):
    # No pixel of an image equals its partner's.
    images = np.arange(40, dtype=number_type)[:, None, None, None] * np.ones(
        (40, HEIGHT, WIDTH, 3), number_type
    )
    seen = set()
    for number in range(5):
        mixed, (first, second, shares) = augmented(images, number, cutmix_alpha=1.0)
        assert mixed.dtype == number_type
        assert first.tolist() == list(range(40))
        assert second.tolist() == list(range(40))[::-1]
        for box, share in zip(boxes_of(mixed.numpy(), images), shares, strict=True):
            area = 0 if box is None else (box[1] - box[0]) * (box[3] - box[2])
            assert share == pytest.approx(1 - area / (HEIGHT * WIDTH), abs=1e-6)
            seen.add(box)
    assert len(seen) > 150


def cutmix_shares_of_the_paper(random, count):
    """The paper's code: rounded box sides around a whole pixel, cut off at the image's border."""
    shares = []
    for weight in random.beta(1.0, 1.0, count):
        side = np.sqrt(1.0 - weight)
        box = []
        for length in (WIDTH, HEIGHT):
            half, center = int(length * side) // 2, random.integers(length)
            box.append(min(center + half, length) - max(center - half, 0))
        shares.append(1 - box[0] * box[1] / (WIDTH * HEIGHT))
    return np.sort(shares)


def test_cutmix_boxes_are_distributed_as_the_papers():
    count = 4000
    images = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    shares = np.sort(augmented(images, 6, cutmix_alpha=1.0)[1][2])
    expected = cutmix_shares_of_the_paper(np.random.default_rng(8), count)
    values = np.linspace(0, 1, 301) + 1e-4
    distance = np.abs(np.searchsorted(shares, values) - np.searchsorted(expected, values)) / count
    assert distance.max() < 1.95 * np.sqrt(2 / count)


# Both


def test_of_both_every_batch_gets_one(images):
    options = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}
    augmentation = tf.function(BatchAugmentation(DataParams(**options)), autograph=False)
    flat = np.arange(BATCH, dtype=np.uint8)[:, None, None, None] * np.full(
        (BATCH, HEIGHT, WIDTH, 3), 20, np.uint8
    )
    num_mixup = 0
    for number in range(100):
        mixed, labels = augmentation(tf.constant(flat), tf.constant(LABELS), key(number))
        mixed, shares = mixed.numpy(), labels.share_of_first.numpy().astype(float)
        values = [np.unique(image) for image in mixed]
        is_mixup = all(len(v) == 1 for v in values)
        num_mixup += is_mixup
        # Images of one value each: in both cases their mean is the mixture of the two.
        means = shares * flat[:, 0, 0, 0] + (1 - shares) * flat[::-1, 0, 0, 0]
        np.testing.assert_allclose(mixed.mean((1, 2, 3), dtype=float), means, atol=1e-3)
        if not is_mixup:
            assert all(np.isin(v, flat[:, 0, 0, 0]).all() for v in values)
        else:
            assert (shares >= 0.5).all()
    assert 30 <= num_mixup <= 70


# Random erasing


def test_erasing_draws_rectangles_within_the_papers_limits():
    images = np.full((2000, HEIGHT, WIDTH, 3), -1, np.float32)
    erased, (first, second, shares) = augmented(images, 7, random_erasing=0.5)
    assert erased.dtype == tf.float32
    assert first.tolist() == list(range(2000))
    assert (shares == 1).all()
    assert len(second) == 2000
    touched = (erased.numpy() != -1).all(-1)
    assert abs(touched.any((1, 2)).mean() - 0.5) < 4.5 * np.sqrt(0.25 / 2000)
    areas, ratios = [], []
    for mask in touched[touched.any((1, 2))]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert mask.sum() == height * width
        areas.append(height * width / (HEIGHT * WIDTH))
        # Sides are rounded to whole pixels.
        ratios.append(((height + 0.5) / (width - 0.5), (height - 0.5) / (width + 0.5)))
    assert min(areas) < 0.04
    assert 0.3 < max(areas) <= 0.4 + 25.5 / 600
    assert all(high >= 0.3 and low <= 1 / 0.3 for high, low in ratios)
    assert max(low for _, low in ratios) > 2
    assert min(high for high, _ in ratios) < 0.6


def erased_areas_of_the_paper(random, count):
    """Algorithm 1 of the paper: draw until the rectangle lies within the image."""
    areas = []
    while len(areas) < count:
        area, ratio = random.uniform(0.02, 0.4) * HEIGHT * WIDTH, random.uniform(0.3, 1 / 0.3)
        height, width = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        y, x = int(random.uniform(0, HEIGHT)), int(random.uniform(0, WIDTH))
        if x + width <= WIDTH and y + height <= HEIGHT:
            areas.append(height * width)
    return np.sort(areas)


def test_erased_areas_are_distributed_as_the_papers():
    count = 4000
    images = np.full((count, HEIGHT, WIDTH, 1), -1, np.float32)
    erased = augmented(images, 8, random_erasing=1.0)[0].numpy()
    areas = np.sort((erased != -1).sum((1, 2, 3)))
    assert areas.min() > 0
    expected = erased_areas_of_the_paper(np.random.default_rng(9), count)
    values = np.arange(0, 300) + 0.5
    distance = np.abs(np.searchsorted(areas, values) - np.searchsorted(expected, values)) / count
    assert distance.max() < 1.95 * np.sqrt(2 / count)


def test_the_noise_is_uniform_bytes():
    images = np.zeros((200, HEIGHT, WIDTH, 3), np.uint8)
    erased = augmented(images, 9, random_erasing=1.0)[0]
    assert erased.dtype == tf.uint8
    noise = erased.numpy()[(erased.numpy() != 0).any(-1)].ravel()
    counts = np.bincount(noise, minlength=256)[1:]  # a pixel of three zeros counts as untouched
    spread = np.sqrt(counts.mean())
    assert np.abs(counts - counts.mean()).max() < 5 * spread
    assert len(np.unique(erased.numpy().reshape(200, -1), axis=0)) == 200


def test_erasing_comes_before_mixing(images):
    """Erased pixels take part in the mixture: its label shares stay true."""
    erased, _ = augmented(images, 10, random_erasing=1.0)
    both, (_, _, shares) = augmented(images, 10, random_erasing=1.0, mixup_alpha=1.0)
    weights = shares[:, None, None, None].astype(float)
    expected = weights * erased.numpy() + (1 - weights) * erased.numpy()[::-1]
    np.testing.assert_allclose(both, expected, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"mixup_alpha": 0.2},
        {"cutmix_alpha": 1.0},
        {"random_erasing": 0.5},
        {"random_erasing": 0.5, "mixup_alpha": 0.2, "cutmix_alpha": 1.0},
    ],
)
def test_a_batch_is_a_function_of_its_key(images, options):
    tf.random.set_seed(1)
    first, labels = augmented(images, 11, **options)
    tf.random.set_seed(2)
    again, labels_again = augmented(images, 11, **options)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(labels, labels_again)
    other, _ = augmented(images, 12, **options)
    assert not np.array_equal(first, other)
