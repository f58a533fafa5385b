"""The views of images that a network sees: crop, resize, flip and augmentation.

ImageNet's views come first. Small images are only shifted and scaled a little.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from preprocessing.augmentation.augmix import augmix
from preprocessing.augmentation.image_ops import blur, grayscale, rotate_smoothly
from preprocessing.augmentation.policies import auto_augment, distort_color, rand_augment
from preprocessing.augmentation.trivial_augment import trivial_augment
from preprocessing.images.crops import eval_window, train_crop, vgg_resized_shape
from preprocessing.images.decoding import WindowChooser, decode_window, whole_image
from preprocessing.images.resize import OVERSHOOTING_METHODS, resize
from preprocessing.randomness import fold_in
from preprocessing.records.examples import Example

# Draw numbers of randomness.fold_in: ImageNet's views, then those of small images.
_CROP, _FLIP = 1, 2
_ROTATION, _GRAYSCALE, _BLUR, _BLUR_SIGMA = 3, 4, 5, 6
_SIDE, _SHIFT, _SMALL_FLIP = 32, 33, 34
_VERTICAL_FLIP = 35
# Digits: the window's side and its shift from the center, in fractions of the image's side.
_MIN_SIDE, _MAX_SIDE = 0.9, 1.2
_MAX_SHIFT = 0.06
# Pixels. Chen et al. 2020, arXiv:2002.05709, appendix A.
_BLUR_SIGMAS = (0.1, 2.0)
# CIFAR: zeros around the image before a window of the image's own size is cropped (He et al. 2016).
_CIFAR_PADDING = 4


def train_image(
    data: DataParams, example: Example, image_size: int, seed: tf.Tensor, position: tf.Tensor
) -> tf.Tensor:
    """Draws a training view of an image: uint8 [image_size, image_size, 3].

    Bytes need a quarter of the bandwidth of floats on the way to a GPU, and the rounding is far
    smaller than the changes by the crop.
    """
    image = random_view(data, example, image_size, seed, position)
    if data.resize_method in OVERSHOOTING_METHODS:
        image = tf.clip_by_value(image, 0.0, 255.0)
    if data.augment == "color":
        image = distort_color(image, seed, position)
    # Flip after casting to uint8: a quarter of the memory traffic.
    image = flipped(data, to_bytes(image), seed, _FLIP)
    if data.rotation_degrees:
        limit = data.rotation_degrees
        degrees = tf.random.stateless_uniform([], fold_in(seed, _ROTATION), -limit, limit)
        image = rotate_smoothly(image, degrees)
    image = _augmented(data, image, seed)
    image = _sometimes(data.random_grayscale, _GRAYSCALE, seed, image, grayscale)
    sigma = tf.random.stateless_uniform([], fold_in(seed, _BLUR_SIGMA), *_BLUR_SIGMAS)
    return _sometimes(data.random_blur, _BLUR, seed, image, lambda image: blur(image, sigma))


def flipped(
    data: DataParams, image: tf.Tensor, seed: tf.Tensor, draw: int, *, by_default: bool = True
) -> tf.Tensor:
    """Mirrors an image at random as --horizontal_flip and --vertical_flip ask for.

    Args:
        draw: the number of the horizontal flip's draw.
        by_default: whether a data set is mirrored without --horizontal_flip.
    """
    if by_default if data.horizontal_flip is None else data.horizontal_flip:
        image = tf.image.stateless_random_flip_left_right(image, fold_in(seed, draw))
    if data.vertical_flip:
        image = tf.image.stateless_random_flip_up_down(image, fold_in(seed, _VERTICAL_FLIP))
    return image


def _augmented(data: DataParams, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Applies the policy of --augment to a uint8 image."""
    if data.augment == "autoaugment":
        return auto_augment(image, seed)
    if data.augment == "randaugment":
        return rand_augment(
            image,
            seed,
            num_layers=data.randaugment_num_layers,
            magnitude=data.randaugment_magnitude,
        )
    if data.augment == "trivialaugment":
        return trivial_augment(image, seed)
    if data.augment == "augmix":
        return augmix(image, seed)
    return image


def _sometimes(
    probability: float,
    draw: int,
    seed: tf.Tensor,
    image: tf.Tensor,
    change: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Changes an image with a probability, drawn by the number `draw`."""
    if not probability:
        return image
    coin = tf.random.stateless_uniform([], fold_in(seed, draw))
    return tf.cond(coin < probability, lambda: change(image), lambda: image)


def random_view(
    data: DataParams, example: Example, image_size: int, seed: tf.Tensor, position: tf.Tensor
) -> tf.Tensor:
    """Draws a part of an image and resizes it: float32 [image_size, image_size, 3]."""
    choose = train_window(data, example.boxes, image_size, seed)
    cropped = decode_window(example.encoded, choose)
    return _resized_by(data, cropped, (image_size, image_size), position)


def eval_image(
    data: DataParams, example: Example, image_size: int, position: tf.Tensor
) -> tf.Tensor:
    """Returns the view of an image for evaluation: float32 [image_size, image_size, 3].

    The floats are not rounded after resizing, as for the published accuracies.
    """
    method = data.eval_method
    cropped = decode_window(
        example.encoded,
        lambda height, width: eval_window(
            method, height, width, image_size, data.eval_crop_fraction
        ),
    )
    if method == "vgg":
        shape = vgg_resized_shape(tf.shape(cropped)[0], tf.shape(cropped)[1], image_size)
    else:
        shape = (image_size, image_size)
    image = _resized_by(data, cropped, shape, position)
    if method == "vgg":
        y, x = ((side - image_size) // 2 for side in shape)
        image = tf.slice(image, [y, x, 0], [image_size, image_size, 3])
    return tf.ensure_shape(image, [image_size, image_size, 3])


def digit_train_image(
    data: DataParams, example: Example, image_size: int, seed: tf.Tensor, position: tf.Tensor
) -> tf.Tensor:
    """Scales and shifts a digit a little: uint8 [image_size, image_size, 3].

    It is mirrored on demand only, because a mirrored 2 is not a digit. Pixels outside the image are
    black like the background.
    """
    del position
    image = decode_window(example.encoded, whole_image)
    side = tf.random.stateless_uniform([], fold_in(seed, _SIDE), _MIN_SIDE, _MAX_SIDE)
    shift = tf.random.stateless_uniform([2], fold_in(seed, _SHIFT), -_MAX_SHIFT, _MAX_SHIFT)
    begin = 0.5 + shift - side / 2
    box = tf.concat([begin, begin + side], 0)
    view = to_bytes(_sample_box(tf.cast(image, tf.float32), box, image_size))
    return flipped(data, view, seed, _SMALL_FLIP, by_default=False)


def cifar_train_image(
    data: DataParams, example: Example, image_size: int, seed: tf.Tensor, position: tf.Tensor
) -> tf.Tensor:
    """Pads by four black pixels, crops and mirrors at random: uint8 [image_size, image_size, 3]."""
    del position
    image = decode_window(example.encoded, whole_image)
    shape = tf.shape(image)
    margins = [[_CIFAR_PADDING, _CIFAR_PADDING], [_CIFAR_PADDING, _CIFAR_PADDING], [0, 0]]
    offsets = tf.random.stateless_uniform(
        [2], fold_in(seed, _SHIFT), 0, 2 * _CIFAR_PADDING + 1, tf.int32
    )
    view = tf.slice(tf.pad(image, margins), tf.concat([offsets, [0]], 0), shape)
    view = flipped(data, view, seed, _SMALL_FLIP)
    return to_bytes(_resized_whole(view, image_size))


def whole_eval_image(example: Example, image_size: int, position: tf.Tensor) -> tf.Tensor:
    """Resizes the whole image: float32 [image_size, image_size, 3]."""
    del position
    return _resized_whole(decode_window(example.encoded, whole_image), image_size)


def train_window(
    data: DataParams, boxes: tf.Tensor, image_size: int, seed: tf.Tensor
) -> WindowChooser:
    """Returns how an example with this seed chooses the part of its image to decode."""
    choose = train_crop(data, image_size)
    return lambda height, width: choose(height, width, boxes, fold_in(seed, _CROP))


def _resized_by(
    data: DataParams,
    image: tf.Tensor,
    shape: tuple[int | tf.Tensor, int | tf.Tensor],
    position: tf.Tensor,
) -> tf.Tensor:
    half_pixel_centers = data.resize_kernels == "tf2"
    return resize(
        image, shape, data.resize_method, position=position, half_pixel_centers=half_pixel_centers
    )


def to_bytes(image: tf.Tensor) -> tf.Tensor:
    """Rounds float32 in 0..255 to the nearest uint8."""
    return tf.cast(tf.round(image), tf.uint8)


def _sample_box(image: tf.Tensor, box: tf.Tensor, image_size: int) -> tf.Tensor:
    """Interpolates the part of an image within a box, with black pixels around the image.

    Args:
        image: float32 [height, width, 3].
        box: float32 [4]: ymin, xmin, ymax, xmax in fractions of the image; may exceed 0..1.
        image_size: height and width of the result in pixels.
    """
    shape = tf.shape(image)[:2]
    pixels = tf.cast(tf.concat([shape, shape], 0), tf.float32)
    begin, end = tf.split(box * pixels, 2)
    half_step = (end - begin) / image_size / 2
    samples = tf.concat([begin + half_step, end - half_step], 0)  # the outermost sample points
    # crop_and_resize counts from the center of the first pixel, 0, to that of the last, 1, and is
    # black beyond: one row of black pixels around the image makes its border fade.
    view = tf.image.crop_and_resize(
        tf.pad(image, [[1, 1], [1, 1], [0, 0]])[tf.newaxis],
        ((samples + 0.5) / (pixels + 1))[tf.newaxis],
        box_indices=[0],
        crop_size=[image_size, image_size],
    )
    return tf.ensure_shape(view[0], [image_size, image_size, 3])


def _resized_whole(image: tf.Tensor, image_size: int) -> tf.Tensor:
    return resize(image, (image_size, image_size), "bilinear", half_pixel_centers=True)
