"""Shears, translations and rotations of AutoAugment and RandAugment, to the nearest pixel.

Images are uint8 [height, width, 3]. What comes from outside of the image is grey.
"""

from __future__ import annotations

import tensorflow as tf

from preprocessing.image_operations import GRAY_FILL


def shear_x(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Shift every row by `factor` times its number, to the left where that is positive."""
    return _transform(image, (1, factor, 0), (0, 1, 0))


def shear_y(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Shift every column by `factor` times its number, up where that is positive."""
    return _transform(image, (1, 0, 0), (factor, 1, 0))


def translate_x(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Shift the image to the left (to the right where `pixels` is negative)."""
    return _transform(image, (1, 0, pixels), (0, 1, 0))


def translate_y(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Shift the image up (down where `pixels` is negative)."""
    return _transform(image, (1, 0, 0), (0, 1, pixels))


def rotate(image: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Turn the image about its centre, counter-clockwise where `degrees` is positive."""
    radians = degrees * (3.141592653589793 / 180)
    cosine, sine = tf.cos(radians), tf.sin(radians)
    center_y, center_x = (
        (tf.cast(side, tf.float32) - 1) / 2 for side in tf.unstack(tf.shape(image)[:2])
    )
    return _transform(
        image,
        (cosine, -sine, center_x - cosine * center_x + sine * center_y),
        (sine, cosine, center_y - sine * center_x - cosine * center_y),
    )


def _transform(image: tf.Tensor, x_row: tuple, y_row: tuple) -> tf.Tensor:
    """Pixel (x, y) becomes the input's at (x_row, y_row) . (x, y, 1), rounded to the nearest."""
    matrix = [tf.cast(entry, tf.float32) for entry in (*x_row, *y_row, 0, 0)]
    transformed = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack(matrix)[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        interpolation="NEAREST",
        fill_mode="CONSTANT",
        fill_value=float(GRAY_FILL),
    )
    return tf.ensure_shape(transformed[0], image.shape)
