"""RandAugment: a few operations, each drawn from sixteen, all at the same level.

Source: Cubuk et al. 2020, arXiv:1909.13719, as EfficientNet's released code has it. That code
draws a probability for each operation as well, between 0.2 and 0.8, and never uses it: a drawn
operation is always applied. So it is here, without the draw.
"""

from __future__ import annotations

import tensorflow as tf

from preprocessing.augmentation_operations import (
    IDENTITY,
    NAMES,
    NUM_DRAWS,
    apply_operation,
    argument_of,
)
from preprocessing.randomness import fold_in

OPERATIONS = tuple(name for name in NAMES if name != IDENTITY)
_MAX_TRANSLATION = 100
# Draw numbers of randomness.fold_in.
_OPERATIONS, _DRAWS = 50, 51


def rand_augment(
    image: tf.Tensor, seed: tf.Tensor, *, num_layers: int, magnitude: int
) -> tf.Tensor:
    """Apply `num_layers` operations, drawn one by one with equal chances.

    Args:
        image: uint8 [height, width, 3].
        seed: int64 [2], the example's.
        num_layers: how many, 1 or more.
        magnitude: the level of all of them. 10 is the largest that AutoAugment knows;
            EfficientNet-B7 was trained with 28. Solarize has no effect from 10 up, Posterize none
            from 20 up.

    Returns:
        uint8 [height, width, 3].
    """
    draws = tf.random.stateless_uniform([num_layers, NUM_DRAWS], fold_in(seed, _DRAWS))
    choices = tf.random.stateless_uniform(
        [num_layers], fold_in(seed, _OPERATIONS), 0, len(OPERATIONS), tf.int32
    )
    indices = tf.gather([NAMES.index(name) for name in OPERATIONS], choices)
    arguments = tf.gather(
        [float(argument_of(name, magnitude, _MAX_TRANSLATION)) for name in OPERATIONS], choices
    )
    for layer in range(num_layers):
        image = apply_operation(image, indices[layer], arguments[layer], draws[layer])
    return image
