"""The color distortion of the Inception release, with stateless random numbers."""

from __future__ import annotations

import tensorflow as tf

from preprocessing.randomness import fold_in

MAX_BRIGHTNESS_CHANGE = 32 / 255
SATURATION_FACTORS = (0.5, 1.5)
MAX_HUE_CHANGE = 0.2
CONTRAST_FACTORS = (0.5, 1.5)
# Draw numbers of randomness.fold_in.
_BRIGHTNESS, _SATURATION, _HUE, _CONTRAST = 16, 17, 18, 19


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
