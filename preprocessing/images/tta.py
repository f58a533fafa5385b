"""The views of an image that a network sees: one, two or ten, whose answers are averaged.

    none         the whole image, resized to S x S: its aspect ratio is lost
    letterbox    the longer side becomes S; gray bars fill the square
    keep-aspect  the shorter side becomes S; the central S x S
    1-crop       the shorter side becomes S * 256 / 224; the central S x S
    10-crop      of the same image the four corners and the center, and the mirror image of each
    flip         the network's own view, and its mirror image

S is the network's image size. All but `flip` resize bilinearly with pixel centers at 0.5, without
antialiasing, as OpenCV does; unlike OpenCV, the results are not rounded. Without a name it is the
network's own view, that of its evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from benchmark_cnn.params.output_params import (
    FLIP,
    KEEP_ASPECT,
    LETTERBOX,
    NONE,
    ONE_CROP,
    TEN_CROP,
)
from preprocessing.images.crops import eval_window
from preprocessing.images.decoding import decode_window, whole_image
from preprocessing.images.resize import resize

# The classic short side of 256 for a crop of 224, at every size.
_RESIZED, _CROPPED = 256, 224
# Zero after the normalization of EfficientNet-Lite, (x - 127) / 128.
_GRAY = 127.0

Views = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From an encoded image and its int64 position in the data set to float32 [V, S, S, 3], 0..255."""


def views(
    tta: str | None, image_size: int, own: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> Views:
    """Returns the function that makes the views of an image; it can be called in a tf.function.

    Args:
        tta: a name above, or None for the network's own view.
        image_size: S.
        own: from an encoded image and its position to the network's own view, [S, S, 3].
    """

    def make(encoded: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        if tta is None:
            return own(encoded, position)[tf.newaxis]
        if tta == FLIP:
            return _with_mirror_images(own(encoded, position)[tf.newaxis])
        return {
            NONE: _whole,
            LETTERBOX: _letterboxed,
            KEEP_ASPECT: lambda encoded, size: _center(encoded, size, size),
            ONE_CROP: lambda encoded, size: _center(encoded, size, shorter_side(size)),
            TEN_CROP: _ten_crops,
        }[tta](encoded, image_size)

    return make


def shorter_side(size: int) -> int:
    """Returns the shorter side, in pixels, of the image that 1-crop and 10-crop cut from."""
    return size * _RESIZED // _CROPPED


def _whole(encoded: tf.Tensor, size: int) -> tf.Tensor:
    return _resized(decode_window(encoded, whole_image), size, size)[tf.newaxis]


def _letterboxed(encoded: tf.Tensor, size: int) -> tf.Tensor:
    image = decode_window(encoded, whole_image)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    longer = tf.maximum(height, width)
    # Rounded half up, and at least one row.
    rows = tf.maximum((2 * size * height + longer) // (2 * longer), 1)
    columns = tf.maximum((2 * size * width + longer) // (2 * longer), 1)
    top, left = (size - rows) // 2, (size - columns) // 2
    margins = [[top, size - rows - top], [left, size - columns - left], [0, 0]]
    square = tf.pad(_resized(image, rows, columns), margins, constant_values=_GRAY)
    return tf.ensure_shape(square, [size, size, 3])[tf.newaxis]


def _center(encoded: tf.Tensor, size: int, shorter: int) -> tf.Tensor:
    image, height, width = _shorter_side_resized(encoded, shorter)
    return _window(image, (height - size) // 2, (width - size) // 2, size)[tf.newaxis]


def _ten_crops(encoded: tf.Tensor, size: int) -> tf.Tensor:
    image, height, width = _shorter_side_resized(encoded, shorter_side(size))
    bottom, right = height - size, width - size
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    return _with_mirror_images(tf.stack([_window(image, y, x, size) for y, x in places]))


def _shorter_side_resized(
    encoded: tf.Tensor, shorter: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the image with the shorter side in pixels, its height and its width.

    The longer side is rounded down. An image of more than 16 : 1, which would grow to gigabytes, is
    cut to its central part.
    """
    image = decode_window(encoded, lambda height, width: eval_window("vgg", height, width, shorter))
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    least = tf.minimum(height, width)
    rows, columns = shorter * height // least, shorter * width // least
    return _resized(image, rows, columns), rows, columns


def _resized(image: tf.Tensor, rows: int | tf.Tensor, columns: int | tf.Tensor) -> tf.Tensor:
    return resize(image, (rows, columns), "bilinear", half_pixel_centers=True)


def _window(image: tf.Tensor, y: int | tf.Tensor, x: int | tf.Tensor, size: int) -> tf.Tensor:
    return tf.slice(image, tf.stack([y, x, 0]), [size, size, 3])


def _with_mirror_images(images: tf.Tensor) -> tf.Tensor:
    """Appends the mirror image of each: [2 V, S, S, 3]."""
    return tf.concat([images, tf.reverse(images, [2])], 0)
