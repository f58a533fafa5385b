"""AutoAugment and RandAugment: their tables, and how often each outcome of them comes out."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from preprocessing.augmentation.operations import argument_of
from preprocessing.augmentation.policies import OPERATIONS, POLICY_V0, auto_augment, rand_augment
from tests.preprocessing.augmentation import reference_operations as reference

# As the policy is listed in the released code: operation, probability and level of each pair.
PUBLISHED_V0 = """
Equalize .8 1 ShearY .8 4 | Color .4 9 Equalize .6 3 | Color .4 1 Rotate .6 8 |
Solarize .8 3 Equalize .4 7 | Solarize .4 2 Solarize .6 2 | Color .2 0 Equalize .8 8 |
Equalize .4 8 SolarizeAdd .8 3 | ShearX .2 9 Rotate .6 8 | Color .6 1 Equalize 1 2 |
Invert .4 9 Rotate .6 0 | Equalize 1 9 ShearY .6 3 | Color .4 7 Equalize .6 0 |
Posterize .4 6 AutoContrast .4 7 | Solarize .6 8 Color .6 9 | Solarize .2 4 Rotate .8 9 |
Rotate 1 7 TranslateY .8 9 | ShearX 0 0 Solarize .8 4 | ShearY .8 0 Color .6 4 |
Color 1 0 Rotate .6 2 | Equalize .8 4 Equalize 0 8 | Equalize 1 4 AutoContrast .6 2 |
ShearY .4 7 SolarizeAdd .6 7 | Posterize .8 2 Solarize .6 10 | Solarize .6 8 Equalize .6 1 |
Color .8 6 Rotate .4 5
"""
SIDE = 40
PIXELS = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
ENHANCING = ("Color", "Contrast", "Brightness", "Sharpness")


def published_pairs():
    for line in PUBLISHED_V0.split("|"):
        words = line.split()
        yield tuple((words[i], float(words[i + 1]), int(words[i + 2])) for i in (0, 3))


def published_argument(name, level, max_translation):
    """The sentence of the specification: level 10 is 30 degrees, a shear of 0.3, and so on."""
    if name in ENHANCING:
        return 0.1 + 1.8 * level / 10
    largest = {"Rotate": 30, "ShearX": 0.3, "ShearY": 0.3}
    largest |= {"TranslateX": max_translation, "TranslateY": max_translation}
    if name in largest:
        return largest[name] * level / 10
    return {"Posterize": 4, "Solarize": 256, "SolarizeAdd": 110}.get(name, 0) * level // 10


def outcomes(pixels, name, level, max_translation):
    """The images that an operation may give, with their probabilities."""
    argument = published_argument(name, level, max_translation)
    if name not in reference.GEOMETRIC:
        return [(reference.OPERATIONS[name](pixels, argument), 1.0)]
    return [(reference.OPERATIONS[name](pixels, sign * argument), 0.5) for sign in (1, -1)]


def images_of(augment, count):
    """The results of `augment` for the seeds 0, 1, ...: uint8 [count, SIDE, SIDE, 3]."""
    image = tf.constant(PIXELS)
    seeds = tf.data.Dataset.range(count).map(
        lambda n: augment(image, tf.stack([n, n // 7])), num_parallel_calls=2
    )
    return next(iter(seeds.batch(count))).numpy()


def test_the_policy_is_the_published_one():
    assert len(POLICY_V0) == 25
    assert list(published_pairs()) == list(POLICY_V0)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (10, [30, 0.3, 0.3, 100, 100, 4, 256, 110, 40, 1.9, 1.9, 1.9, 1.9]),
        (17, [51, 0.51, 0.51, 170, 170, 6, 435, 187, 68, 3.16, 3.16, 3.16, 3.16]),
        (28, [84, 0.84, 0.84, 280, 280, 11, 716, 308, 112, 5.14, 5.14, 5.14, 5.14]),
        (0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0.1, 0.1, 0.1]),
    ],
)
def test_what_a_level_means(level, expected):
    names = [
        *("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY", "Posterize", "Solarize"),
        *("SolarizeAdd", "Cutout", *ENHANCING),
    ]
    arguments = [argument_of(name, level, 100) for name in names]
    assert arguments == pytest.approx(expected)
    assert [argument_of(n, level, 100) for n in ("Invert", "Equalize", "AutoContrast")] == [0] * 3
    assert argument_of("TranslateY", 9, 250) == 225


def auto_augment_distribution():
    """Image bytes -> probability, over pairs, coins and directions."""
    distribution = Counter()
    for pair in published_pairs():
        stage = [(PIXELS, 1 / 25)]
        for name, probability, level in pair:
            after = [(image, share * (1 - probability)) for image, share in stage]
            for image, share in stage:
                for result, part in outcomes(image, name, level, 250):
                    after.append((result, share * probability * part))
            stage = after
        for image, share in stage:
            distribution[image.tobytes()] += share
    return distribution


def test_auto_augment_has_the_policys_outcomes_as_often_as_it_says():
    count = 2000
    expected = auto_augment_distribution()
    assert sum(expected.values()) == pytest.approx(1)
    found = Counter(image.tobytes() for image in images_of(auto_augment, count))
    assert set(found) <= {image for image, probability in expected.items() if probability}
    for image, probability in expected.items():
        spread = np.sqrt(count * probability * (1 - probability))
        assert abs(found[image] - count * probability) <= 4.5 * spread + 0.5


def test_rand_augment_draws_sixteen_operations_alike():
    count, level = 2000, 3
    images = images_of(
        lambda image, seed: rand_augment(image, seed, num_layers=1, magnitude=level), count
    )
    found = Counter(image.tobytes() for image in images)
    assert len(OPERATIONS) == 16
    expected = Counter()
    for name in set(OPERATIONS) - {"Cutout"}:
        for result, part in outcomes(PIXELS, name, level, 100):
            expected[result.tobytes()] += part / 16
    assert len(expected) == 20  # ten operations with one outcome and five with two
    for image, probability in expected.items():
        assert abs(found[image] - count * probability) <= 4.5 * np.sqrt(count * probability)
    cut = [image for image in images if image.tobytes() not in expected]
    assert abs(len(cut) - count / 16) <= 4.5 * np.sqrt(count / 16)
    for image in cut:
        assert_a_gray_square(image, half_side=12)


def assert_a_gray_square(image, half_side):
    changed = (image != PIXELS).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (image[box] == 128).all()
    for places in (rows, columns):
        length = places[-1] - places[0] + 1
        is_cut_off = places[0] == 0 or places[-1] == SIDE - 1
        assert length == 2 * half_side or (is_cut_off and half_side <= length < 2 * half_side)


def test_layers_follow_one_another():
    """Two layers give what two operations give, but for those with a Cutout: 12% of the pairs."""
    count, level = 400, 3
    names = sorted(set(OPERATIONS) - {"Cutout"})
    first = [image for name in names for image, _ in outcomes(PIXELS, name, level, 100)]
    both = {
        result.tobytes()
        for image, name in itertools.product(first, names)
        for result, _ in outcomes(image, name, level, 100)
    }
    images = images_of(
        lambda image, seed: rand_augment(image, seed, num_layers=2, magnitude=level), count
    )
    known = sum(image.tobytes() in both for image in images)
    assert abs(known / count - (15 / 16) ** 2) < 0.06
    assert len({image.tobytes() for image in images}) > 200
