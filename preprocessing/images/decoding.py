"""Decodes images to RGB pixels, and only the part of the image that is needed."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# Pillow's and every other program's; TensorFlow's default is inexact by up to 18 of 255 levels.
_ACCURATE = "INTEGER_ACCURATE"

WindowChooser = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From an image's height and width to a window: int32 [4] of y, x, height, width in pixels."""


def decode_window(encoded: tf.Tensor, choose_window: WindowChooser) -> tf.Tensor:
    """Decodes a window of an image to uint8 [height, width, 3] RGB.

    Of a JPEG (also gray and CMYK) only the rows and columns of the window are decoded, which is the
    largest saving of the input pipeline. ImageNet has a PNG among its .JPEG files: an image whose
    content is not JPEG is decoded whole, then cropped.

    Args:
        encoded: string scalar.
        choose_window: called with the int32 height and width.
    """

    def from_jpeg() -> tf.Tensor:
        shape = tf.image.extract_jpeg_shape(encoded)
        window = choose_window(shape[0], shape[1])
        return tf.image.decode_and_crop_jpeg(encoded, window, channels=3, dct_method=_ACCURATE)

    def from_other_format() -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        shape = tf.shape(image)
        y, x, height, width = tf.unstack(choose_window(shape[0], shape[1]))
        return tf.slice(image, [y, x, 0], [height, width, 3])

    image = tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other_format)
    image.set_shape([None, None, 3])
    return image


def whole_image(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns the window of the whole image."""
    return tf.stack([0, 0, height, width])
