"""One ImageNet image on its way into a batch: crop, resize, flip, augmentation."""

from __future__ import annotations

import tensorflow as tf

from preprocessing.auto_augment import auto_augment
from preprocessing.color import distort_color
from preprocessing.crops import eval_window, train_crop, vgg_resized_shape
from preprocessing.examples import Example
from preprocessing.image_decoding import decode_window
from preprocessing.options import ImageOptions
from preprocessing.rand_augment import rand_augment
from preprocessing.randomness import fold_in
from preprocessing.resize import OVERSHOOTING_METHODS, resize

# Draw numbers of randomness.fold_in.
_CROP, _FLIP = 1, 2


def train_image(
    options: ImageOptions, example: Example, image_size: int, seed: tf.Tensor, position: tf.Tensor
) -> tf.Tensor:
    """A random view of an image: uint8 [image_size, image_size, 3].

    Bytes cost a quarter of floats on the way to a GPU, and the rounding is far below the changes
    that the crop makes.
    """
    image = random_view(options, example, image_size, seed, position)
    if options.resize_method in OVERSHOOTING_METHODS:
        image = tf.clip_by_value(image, 0.0, 255.0)
    if options.augment == "color":
        image = distort_color(image, seed, position)
    # Bytes are a quarter of the memory to turn round.
    image = tf.image.stateless_random_flip_left_right(to_bytes(image), fold_in(seed, _FLIP))
    if options.augment == "autoaugment":
        return auto_augment(image, seed)
    if options.augment == "randaugment":
        return rand_augment(
            image,
            seed,
            num_layers=options.randaugment_num_layers,
            magnitude=options.randaugment_magnitude,
        )
    return image


def random_view(
    options: ImageOptions, example: Example, image_size: int, seed: tf.Tensor, position: tf.Tensor
) -> tf.Tensor:
    """A random part of an image in the size asked for: float32 [image_size, image_size, 3]."""
    choose = train_crop(options.train_crop, image_size)
    cropped = decode_window(
        example.encoded,
        lambda height, width: choose(height, width, example.boxes, crop_seed(seed)),
    )
    return resize(
        cropped,
        (image_size, image_size),
        options.resize_method,
        position=position,
        half_pixel_centers=options.half_pixel_centers,
    )


def crop_seed(seed: tf.Tensor) -> tf.Tensor:
    """The seed of an example's crop, from the example's."""
    return fold_in(seed, _CROP)


def eval_image(
    options: ImageOptions, example: Example, image_size: int, position: tf.Tensor
) -> tf.Tensor:
    """The one view of an image that an evaluation takes: float32 [image_size, image_size, 3].

    Floats as the resize left them, since published accuracies were measured without rounding.
    """
    method = options.eval_method
    fraction = options.eval_crop_fraction
    cropped = decode_window(
        example.encoded,
        lambda height, width: eval_window(method, height, width, image_size, fraction),
    )
    if method == "vgg":
        shape = vgg_resized_shape(tf.shape(cropped)[0], tf.shape(cropped)[1], image_size)
    else:
        shape = (image_size, image_size)
    image = resize(
        cropped,
        shape,
        options.resize_method,
        position=position,
        half_pixel_centers=options.half_pixel_centers,
    )
    if method == "vgg":
        y, x = ((side - image_size) // 2 for side in shape)
        image = tf.slice(image, [y, x, 0], [image_size, image_size, 3])
    return tf.ensure_shape(image, [image_size, image_size, 3])


def to_bytes(image: tf.Tensor) -> tf.Tensor:
    """float32 in 0..255 to the nearest uint8."""
    return tf.cast(tf.round(image), tf.uint8)
