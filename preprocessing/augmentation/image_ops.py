"""The image operations of `--augment` and the other switches, on uint8 images [height, width, 3].

Each operation gives exactly the result of Pillow's operation of the same name, except where the
released code of AutoAugment (Cubuk et al. 2019, arXiv:1805.09501) and RandAugment
(arXiv:1909.13719) deviates, on purpose or by mistake: the published accuracies were reached with
that code. Each such place says so.

Geometric operations of policies use the nearest pixel; pixels from outside the image are gray where
the policy does not say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

GRAY_FILL = 128
# Three times the largest sigma of a blur.
BLUR_RADIUS = 6
# Luma of ITU-R 601-2 in 16-bit fixed point, as Pillow has it.
_LUMA_WEIGHTS = (19595, 38470, 7471)
_LUMA_BITS = 16


def invert(image: tf.Tensor) -> tf.Tensor:
    """Subtracts every value from 255."""
    return 255 - image


def auto_contrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to 0..255; a channel with a single value stays as it is."""
    return _by_channel(_stretched, image)


def _stretched(channel: tf.Tensor) -> tf.Tensor:
    values = tf.cast(channel, tf.float32)
    lowest, highest = tf.reduce_min(values), tf.reduce_max(values)
    has_one_value = highest == lowest
    lowest = tf.where(has_one_value, 0.0, lowest)
    highest = tf.where(has_one_value, 255.0, highest)
    # Exact: the product fits in 24 bits, and a rounded quotient does not cross an integer.
    return tf.cast((values - lowest) * 255 / (highest - lowest), tf.uint8)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Spreads the values of each channel so that their histogram becomes flat.

    A channel with a single value, or with too few pixels for 255 steps, stays as it is.
    """
    return _by_channel(_equalized, image)


def _equalized(channel: tf.Tensor) -> tf.Tensor:
    values = tf.cast(channel, tf.int32)
    counts = tf.math.bincount(tf.reshape(values, [-1]), minlength=256, maxlength=256)
    below = tf.cumsum(counts, exclusive=True)
    num_below_highest = tf.reduce_max(tf.where(counts > 0, below, 0))
    step = num_below_highest // 255
    spread = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, spread, tf.range(256))
    return tf.gather(tf.cast(table, tf.uint8), values)


def posterize(image: tf.Tensor, num_bits: tf.Tensor) -> tf.Tensor:
    """Keeps the `num_bits` highest bits of every value.

    A level of zero bits keeps one: TensorFlow shifts a byte by at most seven, and the published
    policies were found with that (Pillow raises an error). More than eight bits count as eight.
    """
    shift = tf.cast(8 - tf.clip_by_value(num_bits, 1, 8), tf.uint8)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, shift), shift)


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Inverts the values from `threshold` up: none at 256, which is RandAugment's magnitude 10."""
    is_inverted = tf.cast(tf.cast(image, tf.int32) >= threshold, tf.uint8)
    return tf.bitwise.bitwise_xor(image, 255 * is_inverted)  # a `where` takes six times as long


def solarize_add(image: tf.Tensor, addition: tf.Tensor) -> tf.Tensor:
    """Adds to the values below 128, up to 255."""
    values = tf.cast(image, tf.int32)
    is_changed = tf.cast(values < 128, tf.int32)
    return tf.cast(tf.minimum(values + addition * is_changed, 255), tf.uint8)


def color(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blends between gray (factor 0), the image (1) and stronger colors."""
    gray = tf.cast(_luma(image), tf.float32)
    return _by_channel(lambda channel: _blend(gray, channel, factor), image)


def grayscale(image: tf.Tensor) -> tf.Tensor:
    """Takes the colors away: all channels have the luma."""
    gray = tf.cast(_luma(image), tf.uint8)
    return tf.stack([gray, gray, gray], -1)


def _luma(image: tf.Tensor) -> tf.Tensor:
    """Returns int32 [height, width] in 0..255, rounded as by Pillow."""
    red, green, blue = tf.unstack(tf.cast(image, tf.int32), axis=-1)
    weights = _LUMA_WEIGHTS
    gray = red * weights[0] + green * weights[1] + blue * weights[2] + (1 << (_LUMA_BITS - 1))
    return tf.bitwise.right_shift(gray, _LUMA_BITS)


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blends between one gray (factor 0), the image (1) and a stronger contrast.

    In Pillow the gray is the image's mean. The released code divides the sum of the histogram,
    which is the number of pixels, by 256: 196 for every image of 224x224 pixels.
    """
    num_pixels = tf.size(image) // 3
    gray = tf.cast(tf.minimum(num_pixels // 256, 255), tf.float32)
    return _blend(gray, image, factor)


def mean_contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blends between the gray of the mean luma (factor 0), the image (1) and more, as Pillow."""
    mean = tf.reduce_mean(tf.cast(_luma(image), tf.float64))
    return _blend(tf.cast(tf.floor(mean + 0.5), tf.float32), image, factor)


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blends between black (factor 0), the image (1) and a brighter one."""
    return _blend(tf.zeros([]), image, factor)


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blends between a smoothed image (factor 0), the image (1) and a sharper one.

    The smoothing kernel is 3x3 ones with a five in the middle; the outermost pixels, where it does
    not fit, stay. It rounds as Pillow does: the released code truncates, which made flat areas one
    level darker.
    """
    values = tf.cast(image, tf.float32)
    rows = values[:-2] + values[1:-1] + values[2:]
    boxes = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    inside = image[1:-1, 1:-1]
    smooth = tf.floor((boxes + 4 * values[1:-1, 1:-1]) / 13 + 0.5)
    middle = tf.concat([image[1:-1, :1], _blend(smooth, inside, factor), image[1:-1, -1:]], 1)
    return tf.concat([image[:1], middle, image[-1:]], 0)


def cutout(image: tf.Tensor, half_side: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
    """Covers a square with gray, as far as it lies within the image.

    Source: DeVries and Taylor 2017, arXiv:1708.04552.

    Args:
        image: uint8 [height, width, 3].
        half_side: int32 scalar in pixels: the square covers center - half_side up to, but not
            including, center + half_side.
        center: float32 [2] in fractions of height and width.
    """
    shape = tf.shape(image)[:2]
    middle = tf.cast(tf.floor(center * tf.cast(shape, tf.float32)), tf.int32)
    top, left = tf.unstack(tf.maximum(middle - half_side, 0))
    bottom, right = tf.unstack(tf.minimum(middle + half_side, shape))
    square = tf.fill([bottom - top, right - left, 3], tf.constant(GRAY_FILL, tf.uint8))
    rows = image[top:bottom]
    rows = tf.concat([rows[:, :left], square, rows[:, right:]], 1)
    return tf.ensure_shape(tf.concat([image[:top], rows, image[bottom:]], 0), image.shape)


def shear_x(image: tf.Tensor, factor: tf.Tensor, fill: int = GRAY_FILL) -> tf.Tensor:
    """Shifts every row by `factor` times its number, to the left if that is positive."""
    return _transform(image, (1, factor, 0), (0, 1, 0), fill=fill)


def shear_y(image: tf.Tensor, factor: tf.Tensor, fill: int = GRAY_FILL) -> tf.Tensor:
    """Shifts every column by `factor` times its number, up if that is positive."""
    return _transform(image, (1, 0, 0), (factor, 1, 0), fill=fill)


def translate_x(image: tf.Tensor, pixels: tf.Tensor, fill: int = GRAY_FILL) -> tf.Tensor:
    """Shifts the image to the left (to the right if `pixels` is negative)."""
    return _transform(image, (1, 0, pixels), (0, 1, 0), fill=fill)


def translate_y(image: tf.Tensor, pixels: tf.Tensor, fill: int = GRAY_FILL) -> tf.Tensor:
    """Shifts the image up (down if `pixels` is negative)."""
    return _transform(image, (1, 0, 0), (0, 1, pixels), fill=fill)


def rotate(image: tf.Tensor, degrees: tf.Tensor, fill: int = GRAY_FILL) -> tf.Tensor:
    """Rotates the image about its center, counter-clockwise if `degrees` is positive."""
    return _transform(image, *_rotation(image, degrees), fill=fill)


def _rotation(image: tf.Tensor, degrees: tf.Tensor) -> tuple[tuple, tuple]:
    """Returns where the pixels of a rotated image come from, as the rows of `_transform`."""
    radians = degrees * (3.141592653589793 / 180)
    cosine, sine = tf.cos(radians), tf.sin(radians)
    center_y, center_x = (
        (tf.cast(side, tf.float32) - 1) / 2 for side in tf.unstack(tf.shape(image)[:2])
    )
    return (
        (cosine, -sine, center_x - cosine * center_x + sine * center_y),
        (sine, cosine, center_y - sine * center_x - cosine * center_y),
    )


def rotate_smoothly(image: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Rotates as `rotate`, between pixels bilinearly, and with the image's reflection around it."""
    source = tf.cast(image, tf.float32)
    turned = _transform(source, *_rotation(image, degrees), "BILINEAR", "REFLECT")
    return tf.cast(tf.round(turned), tf.uint8)


def blur(image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Smooths by a Gaussian; the outermost pixels continue beyond the image.

    Args:
        sigma: float32 scalar, its standard deviation in pixels, at most `BLUR_RADIUS` / 3.
    """
    offsets = tf.range(-BLUR_RADIUS, BLUR_RADIUS + 1)
    weights = tf.exp(-0.5 * tf.square(tf.cast(offsets, tf.float32) / sigma))
    kernel = (weights / tf.reduce_sum(weights))[:, tf.newaxis, tf.newaxis, tf.newaxis]
    kernel = tf.tile(kernel, [1, 1, 3, 1])
    values = tf.cast(image, tf.float32)
    for axis in (0, 1):
        length = tf.shape(values)[axis]
        places = tf.range(-BLUR_RADIUS, length + BLUR_RADIUS)
        padded = tf.gather(values, tf.clip_by_value(places, 0, length - 1), axis=axis)
        along = kernel if axis == 0 else tf.transpose(kernel, [1, 0, 2, 3])
        values = tf.nn.depthwise_conv2d(padded[tf.newaxis], along, [1, 1, 1, 1], "VALID")[0]
    return tf.ensure_shape(tf.cast(tf.round(values), tf.uint8), image.shape)


def _by_channel(change: Callable[[tf.Tensor], tf.Tensor], image: tf.Tensor) -> tf.Tensor:
    """Maps each channel [height, width]: faster than broadcasting over the last axis."""
    return tf.stack([change(channel) for channel in tf.unstack(image, axis=-1)], -1)


def _blend(other: tf.Tensor, image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns `other` at factor 0, the image at 1, linear in between and beyond, within 0..255.

    Args:
        other: float32, a scalar or of the image's shape.
        image: uint8, any shape.
        factor: float32 scalar from 0 up.
    """
    blended = other + factor * (tf.cast(image, tf.float32) - other)
    return tf.cast(tf.clip_by_value(blended, 0.0, 255.0), tf.uint8)


def _transform(
    image: tf.Tensor,
    x_row: tuple,
    y_row: tuple,
    interpolation: str = "NEAREST",
    fill_mode: str = "CONSTANT",
    fill: int = GRAY_FILL,
) -> tf.Tensor:
    """Sets pixel (x, y) to the input's at (x_row, y_row) . (x, y, 1)."""
    matrix = [tf.cast(entry, tf.float32) for entry in (*x_row, *y_row, 0, 0)]
    transformed = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack(matrix)[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        interpolation=interpolation,
        fill_mode=fill_mode,
        fill_value=float(fill),
    )
    return tf.ensure_shape(transformed[0], image.shape)
