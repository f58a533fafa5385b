"""TrivialAugment: one operation at one strength, both drawn alike, with nothing to tune.

Source: Mueller and Hutter 2021, arXiv:2103.10158, the space "wide", in the form that torchvision
made common: 14 operations, 31 strengths.
"""

from __future__ import annotations

import math

import tensorflow as tf

from preprocessing.augmentation.operations import IDENTITY, NAMES, NUM_DRAWS, apply_operation
from preprocessing.randomness import fold_in

NUM_STRENGTHS = 31
# Largest argument of the operations that go in two directions from what changes nothing.
_LARGEST = {
    "ShearX": 0.99,
    "ShearY": 0.99,
    "TranslateX": 32.0,  # pixels, at every size
    "TranslateY": 32.0,
    "Rotate": 135.0,  # degrees
    "Brightness": 0.99,
    "Color": 0.99,
    "MeanContrast": 0.99,
    "Sharpness": 0.99,
}
_FILL = 0  # torchvision's default
_ENHANCING = frozenset({"Brightness", "Color", "MeanContrast", "Sharpness"})
OPERATIONS = (IDENTITY, *_LARGEST, "Posterize", "Solarize", "AutoContrast", "Equalize")
# Draw numbers of randomness.fold_in.
_CHOICES, _DRAWS = 52, 53


def trivial_augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Applies one of the fourteen operations.

    Args:
        image: uint8 [height, width, 3].
        seed: int64 [2], the example's.

    Returns:
        uint8 [height, width, 3].
    """
    # One draw chooses both, since all pairs have equal chances.
    pair = tf.random.stateless_uniform(
        [], fold_in(seed, _CHOICES), 0, len(OPERATIONS) * NUM_STRENGTHS, tf.int32
    )
    operation = pair // NUM_STRENGTHS
    draws = tf.random.stateless_uniform([NUM_DRAWS], fold_in(seed, _DRAWS))
    index = tf.gather([NAMES.index(name) for name in OPERATIONS], operation)
    is_positive = draws[0] < 0.5  # the direction in which geometric operations go, too
    tables = [
        [
            _argument(name, strength, sign)
            for name in OPERATIONS
            for strength in range(NUM_STRENGTHS)
        ]
        for sign in (1, -1)
    ]
    plus, minus = (tf.gather(table, pair) for table in tables)
    argument = tf.where(is_positive, plus, minus)
    return apply_operation(image, index, argument, draws, fill=_FILL)


def _argument(name: str, strength: int, sign: int) -> float:
    """Returns the argument of an operation at a strength of 0 to 30.

    Args:
        sign: 1 or -1, of the change to a factor; the other operations take their direction from a
            draw.
    """
    part = strength / (NUM_STRENGTHS - 1)
    if name in _ENHANCING:
        return 1 + sign * _LARGEST[name] * part
    if name == "Posterize":
        return float(8 - round(6 * part))  # bits
    if name == "Solarize":
        return float(math.ceil(255 - 255 * strength / (NUM_STRENGTHS - 1)))  # the first inverted
    return _LARGEST.get(name, 0.0) * part
