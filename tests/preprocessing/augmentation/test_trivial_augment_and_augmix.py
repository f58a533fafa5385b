"""TrivialAugment's outcomes and AugMix's formula, from the papers and with Pillow's operations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from preprocessing.augmentation import augmix, trivial_augment
from tests.preprocessing.augmentation import reference_operations as reference
from tests.preprocessing.augmentation.test_policies import PIXELS, images_of

# torchvision's table: the largest magnitude, and whether it has a sign. Others have no magnitude.
WIDE = {
    "ShearX": (0.99, True), "ShearY": (0.99, True), "TranslateX": (32, True),
    "TranslateY": (32, True), "Rotate": (135, True), "Brightness": (0.99, True),
    "Color": (0.99, True), "MeanContrast": (0.99, True), "Sharpness": (0.99, True),
    "Posterize": None, "Solarize": None, "AutoContrast": None, "Equalize": None, "Identity": None,
}  # fmt: skip


def wide_outcomes(name):
    """The 62 equally likely images of an operation: 31 magnitudes, 2 signs."""
    image = Image.fromarray(PIXELS)
    for number in range(31):
        for sign in (1, -1):
            if WIDE[name]:
                value = sign * np.linspace(0, WIDE[name][0], 31)[number]
                is_factor = name in ("Brightness", "Color", "MeanContrast", "Sharpness")
                yield reference.ON_BLACK[name](PIXELS, 1 + value if is_factor else value)
            elif name == "Posterize":
                bits = 8 - np.round(np.arange(31) / (30 / 6)).astype(int)[number]
                yield np.asarray(ImageOps.posterize(image, int(bits)))
            elif name == "Solarize":
                threshold = np.linspace(255, 0, 31)[number]
                yield np.asarray(ImageOps.solarize(image, threshold))
            else:
                yield PIXELS if name == "Identity" else reference.ON_BLACK[name](PIXELS, None)


def test_trivial_augment_has_torchvisions_outcomes_equally_often():
    assert len(trivial_augment.OPERATIONS) == 14 == len(WIDE)
    assert set(trivial_augment.OPERATIONS) == set(WIDE)
    count = 4000
    found = images_of(trivial_augment.trivial_augment, count)
    hits, unexplained = Counter(), 0
    outcomes = {name: np.stack(list(wide_outcomes(name))).astype(int) for name in WIDE}
    everything = np.concatenate(list(outcomes.values())).reshape(14 * 62, -1)
    images, times = np.unique(found.reshape(count, -1), axis=0, return_counts=True)
    squares = (everything**2).sum(1)
    nearest = (squares - 2.0 * images.astype(np.float32) @ everything.T.astype(np.float32)).argmin(
        1
    )
    for image, best, number in zip(images, nearest, times, strict=True):
        # A pixel half way between two others may come from either; a level may be rounded.
        differs = np.abs(everything[best] - image) > 1
        unexplained += differs.mean() > 0.02
        hits[int(best)] += number
    assert unexplained == 0
    # By operation; images that several operations give (nothing happens) count for the first.
    names = [name for name in outcomes for _ in range(62)]
    by_name = Counter()
    for best, number in hits.items():
        by_name[names[best]] += number
    same = {n: (np.abs(outcomes[n] - PIXELS) > 1).reshape(62, -1).mean(1) <= 0.02 for n in outcomes}
    for name in WIDE:
        share = (1 - same[name].mean()) / 14
        if name == next(iter(WIDE)):
            share += sum(values.mean() for values in same.values()) / 14
        spread = np.sqrt(count * share * (1 - share))
        assert abs(by_name[name] - count * share) <= 4.5 * spread + 0.5, name


AUGMIX = ("AutoContrast", "Equalize", "Posterize", "Rotate", "Solarize", "ShearX", "ShearY",
          "TranslateX", "TranslateY")  # fmt: skip


def chain_operation(name, pixels, level, is_positive):
    """An operation of AugMix's released code at a level of 0.1 to 3."""
    sign = 1 if is_positive else -1
    image, third = Image.fromarray(pixels), pixels.shape[0] / 3
    if name == "Posterize":
        return np.asarray(ImageOps.posterize(image, 4 - int(level * 4 / 10)))
    if name == "Solarize":
        return np.asarray(ImageOps.solarize(image, 256 - int(level * 256 / 10)))
    if name in ("AutoContrast", "Equalize"):
        return reference.ON_BLACK[name](pixels, None)
    amounts = {"Rotate": int(level * 30 / 10), "ShearX": level * 0.3 / 10}
    amounts |= {"ShearY": level * 0.3 / 10, "TranslateX": int(level * third / 10)}
    amounts["TranslateY"] = amounts["TranslateX"]
    return reference.ON_BLACK[name](pixels, sign * amounts[name])


def test_augmix_mixes_its_chains_by_the_papers_formula():
    assert set(augmix.OPERATIONS) == set(AUGMIX)
    seeds = [tf.constant([number, 3], tf.int64) for number in range(25)]
    far = []
    for seed in seeds:
        weights = augmix.chain_weights(seed).numpy().astype(float)
        operations, levels, draws = (part.numpy() for part in augmix.plan(seed))
        expected = (1 - weights.sum()) * PIXELS
        for chain in range(3):
            changed = PIXELS
            for number in range(3 * chain, 3 * chain + 3):
                if operations[number] < 9:
                    name = augmix.OPERATIONS[operations[number]]
                    changed = chain_operation(name, changed, levels[number], draws[number, 0] < 0.5)
            expected = expected + weights[chain] * changed
        far.append(np.abs(augmix.augmix(tf.constant(PIXELS), seed).numpy() - expected) > 1.51)
    # A pixel half way between two others may come from either.
    assert np.mean(far) < 0.01
    assert np.median(np.mean(far, (1, 2, 3))) == 0


def test_augmix_draws_weights_depths_and_levels_from_the_papers_distributions():
    def draw(number):
        seed = tf.stack([number, number // 7])
        return augmix.chain_weights(seed), *augmix.plan(seed)[:2]

    count = 3000
    drawn = tf.data.Dataset.range(count).map(draw).batch(count)
    weights, operations, levels = (part.numpy() for part in next(iter(drawn)))
    share = weights.sum(1)
    # Beta(1, 1): mean 1/2, variance 1/12. Each of Dirichlet(1, 1, 1): mean 1/3, variance 1/18.
    parts = weights / share[:, None]
    np.testing.assert_allclose([share.mean(), share.var()], [1 / 2, 1 / 12], atol=0.02)
    np.testing.assert_allclose(parts.mean(0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(parts.var(0), 1 / 18, atol=0.005)
    is_operation = operations.reshape(count, 3, 3) < 9
    assert (np.diff(is_operation.astype(int), axis=2) <= 0).all()  # the identity fills up the end
    depths = np.bincount(is_operation.sum(2).ravel(), minlength=4) / (3 * count)
    np.testing.assert_allclose(depths, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.025)
    chosen = np.bincount(operations[operations < 9], minlength=9) / (operations < 9).sum()
    np.testing.assert_allclose(chosen, 1 / 9, atol=0.012)
    assert levels.min() >= 0.1
    assert levels.max() < 3
    np.testing.assert_allclose(levels.mean(), 1.55, atol=0.03)
