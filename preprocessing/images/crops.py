"""Crop windows of the published ImageNet recipes, chosen before the image is decoded.

Every function returns int32 [4]: y, x, height and width of the window in pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.values import parse_range

EFFICIENTNET_PADDING = 32
INCEPTION_CENTRAL_FRACTION = 0.875
# 224 * 1.145 is 256 after truncation: the classic short side of 256 for a crop of 224.
VGG_SCALE = 1.145
# An image of one row would otherwise be enlarged to gigabytes; no image of ImageNet is near this.
VGG_MAX_ASPECT_RATIO = 16

TrainCrop = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""From height, width, boxes [num_boxes, 4] and a seed [2] to a window."""


class CropLimits(NamedTuple):
    """What a random crop may be.

    Attributes:
        area: smallest and largest part of the image's area.
        ratio: smallest and largest width over height.
        covered: the least part of a labeled box, or of the image without boxes, that is seen.
    """

    area: tuple[float, float]
    ratio: tuple[float, float]
    covered: float = 0.1


INCEPTION_LIMITS = CropLimits((0.05, 1.0), (0.75, 1.33))
EFFICIENTNET_LIMITS = CropLimits((0.08, 1.0), (3 / 4, 4 / 3))


def train_crop(data: DataParams, image_size: int) -> TrainCrop:
    """Returns the random crop of --train_crop, within --crop_area and --crop_ratio."""
    is_inception = data.train_crop == "inception"
    limits = INCEPTION_LIMITS if is_inception else EFFICIENTNET_LIMITS
    if data.crop_ratio is not None:
        limits = limits._replace(ratio=parse_range(data.crop_ratio))
    if data.crop_area is not None:
        area = parse_range(data.crop_area)
        if area == (1, 1):
            return whole_window
        # The published limits never reach below 10%, whatever they say.
        limits = limits._replace(area=area, covered=min(limits.covered, area[0]))
    if is_inception:
        return functools.partial(inception_train_window, limits=limits)
    return functools.partial(efficientnet_train_window, image_size=image_size, limits=limits)


def whole_window(
    height: tf.Tensor, width: tf.Tensor, boxes: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Returns the whole image."""
    del boxes, seed
    return tf.stack([0, 0, height, width])


def inception_train_window(
    height: tf.Tensor,
    width: tf.Tensor,
    boxes: tf.Tensor,
    seed: tf.Tensor,
    *,
    limits: CropLimits = INCEPTION_LIMITS,
) -> tf.Tensor:
    """Draws a part of 5% to 100% of the area that shows at least a tenth of some labeled box.

    Source: Szegedy et al. 2015, section 6, with the constants of the Inception release. Without
    boxes, the whole image is the box.

    Args:
        height, width: int32 scalars, in pixels.
        boxes: float32 [num_boxes, 4] of ymin, xmin, ymax, xmax in 0..1.
        seed: int64 [2].
        limits: other limits than the published ones.
    """
    return _sample_window(height, width, boxes, seed, limits=limits, max_attempts=100)


def efficientnet_train_window(
    height: tf.Tensor,
    width: tf.Tensor,
    boxes: tf.Tensor,
    seed: tf.Tensor,
    *,
    image_size: int,
    limits: CropLimits = EFFICIENTNET_LIMITS,
) -> tf.Tensor:
    """Draws a part of 8% to 100% of the area; falls back on the evaluation crop after ten draws.

    Source: the input pipeline of Tan and Le 2019 (EfficientNet). It uses no boxes. The whole image
    is then the object of which a tenth must be seen, so the smallest part is in effect 10%.
    """
    del boxes
    window = _sample_window(height, width, tf.zeros([0, 4]), seed, limits=limits, max_attempts=10)
    # The sampler returns the whole image when it fails.
    failed = tf.reduce_all(window[2:] == tf.stack([height, width]))
    return tf.where(failed, padded_center_window(height, width, image_size), window)


def _sample_window(
    height: tf.Tensor,
    width: tf.Tensor,
    boxes: tf.Tensor,
    seed: tf.Tensor,
    *,
    limits: CropLimits,
    max_attempts: int,
) -> tf.Tensor:
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        image_size=tf.stack([height, width, 3]),
        bounding_boxes=boxes[tf.newaxis],
        seed=seed,
        min_object_covered=limits.covered,
        aspect_ratio_range=limits.ratio,
        area_range=limits.area,
        max_attempts=max_attempts,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], 0)


def padded_center_window(
    height: tf.Tensor, width: tf.Tensor, image_size: int, crop_fraction: float | None = None
) -> tf.Tensor:
    """Returns EfficientNet's evaluation crop: a central square of size/(size+padding).

    The fraction is of the shorter side.

    The padding is 32 pixels at every size, as for the published figures. Later code uses a fraction
    of 0.875 at every size, and pads by the nearest whole number of pixels.
    """
    padding = EFFICIENTNET_PADDING
    if crop_fraction is not None:
        padding = round(image_size * (1 / crop_fraction - 1))
    fraction = tf.constant(image_size / (image_size + padding), tf.float32)
    shorter = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.maximum(tf.cast(fraction * shorter, tf.int32), 1)
    return tf.stack([(height - side + 1) // 2, (width - side + 1) // 2, side, side])


def central_fraction_window(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Returns Inception's evaluation crop: the central 87.5% of each side."""
    y, x = (
        tf.cast(tf.cast(side, tf.float64) * (1 - INCEPTION_CENTRAL_FRACTION) / 2, tf.int32)
        for side in (height, width)
    )
    return tf.stack([y, x, height - 2 * y, width - 2 * x])


def eval_window(
    method: str,
    height: tf.Tensor,
    width: tf.Tensor,
    image_size: int,
    crop_fraction: float | None = None,
) -> tf.Tensor:
    """Returns the window that an evaluation method resizes; "vgg" resizes all and crops afterwards.

    `crop_fraction` is for the method "efficientnet" only.
    """
    if method == "efficientnet":
        return padded_center_window(height, width, image_size, crop_fraction)
    if method == "inception":
        return central_fraction_window(height, width)
    longest = VGG_MAX_ASPECT_RATIO * tf.minimum(height, width)
    rows, columns = tf.minimum(height, longest), tf.minimum(width, longest)
    return tf.stack([(height - rows) // 2, (width - columns) // 2, rows, columns])


def vgg_resized_shape(
    height: tf.Tensor, width: tf.Tensor, image_size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the height and width to which VGG's evaluation resizes before its central crop.

    The shorter side becomes 1.145 times the crop (Simonyan and Zisserman 2015: 256 for 224); the
    aspect ratio is kept.
    """
    shorter = tf.cast(tf.minimum(height, width), tf.float64)
    scale = image_size * VGG_SCALE / shorter

    def scaled(side: tf.Tensor) -> tf.Tensor:
        # The shorter side times its own inverse may fall a rounding error below the integer.
        return tf.cast(tf.cast(side, tf.float64) * scale + 1e-6, tf.int32)

    return scaled(height), scaled(width)
