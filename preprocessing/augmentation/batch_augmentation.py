"""Augmentation of a batch of training images on its device: random erasing, mixup, CutMix.

It costs the host nothing. The engine calls it in every tower with its own key. Random erasing fills
a rectangle of an image with noise (Zhong et al. 2017, arXiv:1708.04896).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from benchmark_cnn.distribution.devices import HOST
from benchmark_cnn.interfaces import MixedLabels
from benchmark_cnn.params.data_params import DataParams
from preprocessing.augmentation.mixup import cutmix, mixed_labels, mixup, mixup_or_cutmix
from preprocessing.randomness import split_key

# Section 4.1 of its paper: fraction of the image's area, and height over width.
AREA = (0.02, 0.4)
ASPECT_RATIO = (0.3, 1 / 0.3)
# It draws until a rectangle lies within the image, as about every third does.
_NUM_ATTEMPTS = 64


@dataclass(frozen=True)
class BatchAugmentation:
    """Random erasing, then mixup or CutMix, as the flags of these names ask for."""

    data: DataParams

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> tuple[tf.Tensor, MixedLabels]:
        """Returns the augmented batch, a function of the arguments alone.

        Args:
            images: uint8 or floating [batch, height, width, 3] in 0..255.
            labels: integers [batch], or float32 [batch, classes].
            key: int32 [2].

        Returns:
            (images, labels). The images keep their type, except that mixup turns uint8 into
            float32.
        """
        data = self.data
        key_of_erasing, key_of_mixing = split_key(key, 2)
        if data.random_erasing:
            images = erase(images, key_of_erasing, data.random_erasing)
        if data.mixup_alpha and data.cutmix_alpha:
            images, shares = mixup_or_cutmix(
                images, key_of_mixing, data.mixup_alpha, data.cutmix_alpha
            )
        elif data.mixup_alpha:
            images, shares = mixup(images, key_of_mixing, data.mixup_alpha)
        elif data.cutmix_alpha:
            images, shares = cutmix(images, key_of_mixing, data.cutmix_alpha)
        else:
            shares = tf.ones(tf.shape(labels)[:1])
        return images, mixed_labels(labels, shares)


def erase(images: tf.Tensor, key: tf.Tensor, probability: float) -> tf.Tensor:
    """Fills a random rectangle of some images with random bytes, the paper's "RE-R".

    Args:
        images: uint8 or floating [batch, height, width, 3] in 0..255.
        key: int32 [2]; the result is a function of it.
        probability: that an image gets a rectangle.

    Returns:
        images of the same type and shape.
    """
    key_of_coins, key_of_rectangles, key_of_noise = split_key(key, 3)
    batch, height, width, _ = tf.unstack(tf.shape(images))
    coins = tf.random.stateless_uniform(tf.stack([batch]), key_of_coins, alg="philox")
    erased = _rectangles(batch, height, width, key_of_rectangles)
    erased &= (coins < probability)[:, tf.newaxis, tf.newaxis]
    noise = tf.cast(_random_bytes(tf.shape(images), key_of_noise), images.dtype)
    return tf.where(tf.expand_dims(erased, -1), noise, images)


def _rectangles(batch: tf.Tensor, height: tf.Tensor, width: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Draws a rectangle of each image: bool [batch, height, width]. Algorithm 1 of the paper."""
    draws = tf.random.stateless_uniform(tf.stack([4, batch, _NUM_ATTEMPTS]), key, alg="philox")
    area, ratio, down, right = tf.unstack(draws)
    num_rows, num_columns = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    area = (AREA[0] + area * (AREA[1] - AREA[0])) * num_rows * num_columns
    ratio = ASPECT_RATIO[0] + ratio * (ASPECT_RATIO[1] - ASPECT_RATIO[0])
    top, left = tf.floor(down * num_rows), tf.floor(right * num_columns)
    bottom = top + tf.round(tf.sqrt(area * ratio))
    end = left + tf.round(tf.sqrt(area / ratio))
    fits = (bottom <= num_rows) & (end <= num_columns)
    first = tf.argmax(fits, axis=1)  # the first attempt if none fits
    sides = tf.gather(tf.stack([top, bottom, left, end], 2), first, axis=1, batch_dims=1)
    sides = tf.where(tf.reduce_any(fits, 1, keepdims=True), sides, 0)
    top, bottom, left, end = tf.unstack(tf.expand_dims(sides, -1), axis=1)
    # In float32: TensorFlow compares int32 on the host, for GPUs, too.
    rows, columns = (tf.cast(tf.range(count), tf.float32) for count in (height, width))
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < end)
    return in_rows[:, :, tf.newaxis] & in_columns[:, tf.newaxis, :]


def _random_bytes(shape: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Draws uint8 of any shape, four from each draw of 32 bits."""
    with tf.device(HOST):
        num_bytes = tf.reduce_prod(shape)
    full_range: Any = None
    words = tf.random.stateless_uniform(
        tf.stack([-(-num_bytes // 4)]), key, full_range, full_range, dtype=tf.uint32, alg="philox"
    )
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:num_bytes], shape)
