"""The policies of `--augment`: AutoAugment, RandAugment and color distortion.

Sources: Cubuk et al. 2019, arXiv:1805.09501, and Cubuk et al. 2020, arXiv:1909.13719, both as in
EfficientNet's released code; the color distortion of the Inception release.
"""

from __future__ import annotations

import tensorflow as tf

from preprocessing.augmentation.operations import (
    IDENTITY,
    NAMES,
    NUM_DRAWS,
    apply_operation,
    argument_of,
)
from preprocessing.randomness import fold_in

# Policy "v0" for ImageNet: 25 learned pairs of (operation, probability, level). Some pairs have an
# operation of probability 0 or of a level without effect: the search found them like this.
POLICY_V0 = (
    (("Equalize", 0.8, 1), ("ShearY", 0.8, 4)),
    (("Color", 0.4, 9), ("Equalize", 0.6, 3)),
    (("Color", 0.4, 1), ("Rotate", 0.6, 8)),
    (("Solarize", 0.8, 3), ("Equalize", 0.4, 7)),
    (("Solarize", 0.4, 2), ("Solarize", 0.6, 2)),
    (("Color", 0.2, 0), ("Equalize", 0.8, 8)),
    (("Equalize", 0.4, 8), ("SolarizeAdd", 0.8, 3)),
    (("ShearX", 0.2, 9), ("Rotate", 0.6, 8)),
    (("Color", 0.6, 1), ("Equalize", 1.0, 2)),
    (("Invert", 0.4, 9), ("Rotate", 0.6, 0)),
    (("Equalize", 1.0, 9), ("ShearY", 0.6, 3)),
    (("Color", 0.4, 7), ("Equalize", 0.6, 0)),
    (("Posterize", 0.4, 6), ("AutoContrast", 0.4, 7)),
    (("Solarize", 0.6, 8), ("Color", 0.6, 9)),
    (("Solarize", 0.2, 4), ("Rotate", 0.8, 9)),
    (("Rotate", 1.0, 7), ("TranslateY", 0.8, 9)),
    (("ShearX", 0.0, 0), ("Solarize", 0.8, 4)),
    (("ShearY", 0.8, 0), ("Color", 0.6, 4)),
    (("Color", 1.0, 0), ("Rotate", 0.6, 2)),
    (("Equalize", 0.8, 4), ("Equalize", 0.0, 8)),
    (("Equalize", 1.0, 4), ("AutoContrast", 0.6, 2)),
    (("ShearY", 0.4, 7), ("SolarizeAdd", 0.6, 7)),
    (("Posterize", 0.8, 2), ("Solarize", 0.6, 10)),
    (("Solarize", 0.6, 8), ("Equalize", 0.6, 1)),
    (("Color", 0.8, 6), ("Rotate", 0.4, 5)),
)
# RandAugment draws from these.
OPERATIONS = tuple(name for name in NAMES if name not in (IDENTITY, "MeanContrast"))
# Pixels that the translations shift by at level 10.
_AUTO_AUGMENT_TRANSLATION, _RAND_AUGMENT_TRANSLATION = 250, 100
MAX_BRIGHTNESS_CHANGE = 32 / 255
SATURATION_FACTORS = (0.5, 1.5)
MAX_HUE_CHANGE = 0.2
CONTRAST_FACTORS = (0.5, 1.5)
# Draw numbers of randomness.fold_in: color distortion, AutoAugment, RandAugment.
_BRIGHTNESS, _SATURATION, _HUE, _CONTRAST = 16, 17, 18, 19
_PAIR, _PAIR_DRAWS = 48, 49
_LAYER_CHOICES, _LAYER_DRAWS = 50, 51


def auto_augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Applies a random pair of `POLICY_V0`, each of its operations with its own probability.

    Args:
        image: uint8 [height, width, 3].
        seed: int64 [2], the example's.

    Returns:
        uint8 [height, width, 3].
    """
    pair = tf.random.stateless_uniform([], fold_in(seed, _PAIR), 0, len(POLICY_V0), tf.int32)
    draws = tf.random.stateless_uniform([2, 1 + NUM_DRAWS], fold_in(seed, _PAIR_DRAWS))
    indices, probabilities, arguments = (tf.gather(table, pair) for table in _tables())
    for number in range(2):
        is_applied = draws[number, 0] < probabilities[number]
        index = tf.where(is_applied, indices[number], NAMES.index(IDENTITY))
        image = apply_operation(image, index, arguments[number], draws[number, 1:])
    return image


def rand_augment(
    image: tf.Tensor, seed: tf.Tensor, *, num_layers: int, magnitude: int
) -> tf.Tensor:
    """Applies `num_layers` of the sixteen operations, drawn one by one with equal chances.

    A drawn operation is always applied. The released code also draws a probability for each, which
    it never uses.

    Args:
        image: uint8 [height, width, 3].
        seed: int64 [2], the example's.
        num_layers: the number of operations, 1 or more.
        magnitude: the level of all operations. 10 is AutoAugment's largest; EfficientNet-B7 was
            trained with 28. Solarize has no effect from 10 up, Posterize none from 20 up.

    Returns:
        uint8 [height, width, 3].
    """
    draws = tf.random.stateless_uniform([num_layers, NUM_DRAWS], fold_in(seed, _LAYER_DRAWS))
    choices = tf.random.stateless_uniform(
        [num_layers], fold_in(seed, _LAYER_CHOICES), 0, len(OPERATIONS), tf.int32
    )
    indices = tf.gather([NAMES.index(name) for name in OPERATIONS], choices)
    arguments = tf.gather(
        [float(argument_of(name, magnitude, _RAND_AUGMENT_TRANSLATION)) for name in OPERATIONS],
        choices,
    )
    for layer in range(num_layers):
        image = apply_operation(image, indices[layer], arguments[layer], draws[layer])
    return image


def _tables() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the operations, probabilities and arguments of the policy: each [25, 2]."""
    return (
        tf.constant([[NAMES.index(name) for name, _, _ in pair] for pair in POLICY_V0]),
        tf.constant([[probability for _, probability, _ in pair] for pair in POLICY_V0]),
        tf.constant(
            [
                [
                    float(argument_of(name, level, _AUTO_AUGMENT_TRANSLATION))
                    for name, _, level in pair
                ]
                for pair in POLICY_V0
            ]
        ),
    )


def distort_color(image: tf.Tensor, seed: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Changes brightness, saturation, hue and contrast at random.

    The four do not commute. Their order alternates with the example's position: brightness,
    saturation, hue, contrast at even ones; brightness, contrast, saturation, hue at odd ones.

    Args:
        image: float32 [height, width, 3] in 0..255.
        seed: int64 [2], the example's.
        position: int64 scalar.

    Returns:
        float32 [height, width, 3], clipped to 0..255.
    """
    image = image / 255
    image = tf.image.stateless_random_brightness(
        image, MAX_BRIGHTNESS_CHANGE, fold_in(seed, _BRIGHTNESS)
    )
    image = tf.cond(
        tf.math.floormod(position, 2) == 0,
        lambda: _contrast(_saturation_and_hue(image, seed), seed),
        lambda: _saturation_and_hue(_contrast(image, seed), seed),
    )
    return tf.clip_by_value(image, 0.0, 1.0) * 255


def _saturation_and_hue(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    image = tf.image.stateless_random_saturation(
        image, *SATURATION_FACTORS, fold_in(seed, _SATURATION)
    )
    return tf.image.stateless_random_hue(image, MAX_HUE_CHANGE, fold_in(seed, _HUE))


def _contrast(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.image.stateless_random_contrast(image, *CONTRAST_FACTORS, fold_in(seed, _CONTRAST))
