"""Mixup and CutMix: every image of a batch is mixed with its partner, and so are the labels.

The partner is the image in the same place of the reversed batch, so that nothing is gathered or
shuffled. Sources: Zhang et al. 2018, arXiv:1710.09412 (mixup); Yun et al. 2019, arXiv:1905.04899
(CutMix). Shares and boxes are drawn for each image, not once per batch.
"""

from __future__ import annotations

import tensorflow as tf

from benchmark_cnn.interfaces import MixedLabels
from preprocessing.randomness import split_key


def mixup(images: tf.Tensor, key: tf.Tensor, alpha: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds every image and its partner with random weights.

    The weight of the image itself is max(w, 1 - w), w from Beta(alpha, alpha), as in EfficientNet's
    released code: an image stays the larger part of its mixture.

    Args:
        images: uint8 or floating [batch, height, width, 3].
        key: int32 [2]; the result is a function of it.
        alpha: both parameters of the Beta distribution, above 0.

    Returns:
        (images, of the same type or float32 if that is uint8; float32 [batch], the images' own
        shares).
    """
    shares = _mixup_shares(tf.shape(images)[0], key, alpha)
    return _weighted(images, shares[:, tf.newaxis, tf.newaxis]), shares


def cutmix(images: tf.Tensor, key: tf.Tensor, alpha: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Replaces a box of every image by the same box of its partner.

    The box has the image's aspect ratio and 1 - w of its area, w from Beta(alpha, alpha). Its
    center is uniform in the image, the part outside is cut off, and the share counts pixels.

    Arguments and results are those of `mixup`, except that the images keep their type.
    """
    keeps, shares = _cutmix_keeps(images, key, alpha)
    return tf.where(tf.expand_dims(keeps, -1), images, _partners(images)), shares


def mixup_or_cutmix(
    images: tf.Tensor, key: tf.Tensor, mixup_alpha: float, cutmix_alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies one of the two to the whole batch, with equal chances, as timm does; see `mixup`.

    Both are computed and one is selected by its weights: a branch would wait for the host.
    """
    key_of_choice, key_of_mixup, key_of_cutmix = split_key(key, 3)
    is_mixup = tf.random.stateless_uniform([], key_of_choice, alg="philox") < 0.5
    shares = _mixup_shares(tf.shape(images)[0], key_of_mixup, mixup_alpha)
    keeps, cut_shares = _cutmix_keeps(images, key_of_cutmix, cutmix_alpha)
    weights = tf.where(is_mixup, shares[:, tf.newaxis, tf.newaxis], tf.cast(keeps, tf.float32))
    return _weighted(images, weights), tf.where(is_mixup, shares, cut_shares)


def mixed_labels(labels: tf.Tensor, shares: tf.Tensor) -> MixedLabels:
    """Returns the labels of a batch whose images keep `shares` [batch] of themselves."""
    return MixedLabels(labels, _partners(labels), shares)


def symmetric_beta(shape: tf.Tensor, key: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draws float32 numbers in 0..1 from Beta(alpha, alpha), for any alpha above 0.

    The draw is X / (X + Y) of two gamma variables. For a small alpha they are smaller than any
    float, so their logarithms are drawn: Gamma(a) is Gamma(a + 1) times the a-th root of a uniform
    number.
    """
    gamma_key, uniform_key = split_key(key, 2)
    shape = tf.concat([[2], shape], 0)
    gammas = tf.random.stateless_gamma(shape, gamma_key, tf.constant(alpha + 1.0))
    uniform = 1.0 - tf.random.stateless_uniform(shape, uniform_key, alg="philox")  # never 0
    x, y = tf.unstack(tf.math.log(gammas) + tf.math.log(uniform) / alpha)
    return tf.sigmoid(x - y)


def _partners(batch: tf.Tensor) -> tf.Tensor:
    return tf.reverse(batch, [0])


def _weighted(images: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Mixes by `weights` [batch, height or 1, width or 1]; the partner gets 1 - weights."""
    weights = tf.expand_dims(weights, -1)
    values = tf.cast(images, tf.float32)
    mixed = weights * values + (1 - weights) * _partners(values)
    return tf.cast(mixed, images.dtype) if images.dtype.is_floating else mixed


def _mixup_shares(batch: tf.Tensor, key: tf.Tensor, alpha: float) -> tf.Tensor:
    weights = symmetric_beta(batch[tf.newaxis], key, alpha)
    return tf.maximum(weights, 1 - weights)


def _cutmix_keeps(images: tf.Tensor, key: tf.Tensor, alpha: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns which pixels an image keeps, bool [batch, height, width], and their share [batch]."""
    key_of_area, key_of_center = split_key(key, 2)
    batch, height, width, _ = tf.unstack(tf.shape(images))
    kept_area = symmetric_beta(batch[tf.newaxis], key_of_area, alpha)
    side = tf.sqrt(1 - kept_area)[tf.newaxis]
    # Whole numbers in float32: TensorFlow's kernels of int32 run on the host, for GPUs, too.
    sides = tf.cast(tf.stack([height, width])[:, tf.newaxis], tf.float32)
    # Rounded as in the paper's code: halves of the truncated sides around a whole pixel.
    half_box = tf.floor(tf.floor(side * sides) / 2)
    center = tf.random.stateless_uniform(tf.stack([2, batch]), key_of_center, alg="philox")
    center = tf.floor(center * sides)
    begin, end = tf.maximum(center - half_box, 0), tf.minimum(center + half_box, sides)
    outside = [
        (places < begin[axis][:, tf.newaxis]) | (places >= end[axis][:, tf.newaxis])
        for axis, places in enumerate(_numbers(height, width))
    ]
    keeps = outside[0][:, :, tf.newaxis] | outside[1][:, tf.newaxis, :]
    return keeps, 1 - tf.reduce_prod(end - begin, 0) / tf.cast(height * width, tf.float32)


def _numbers(*counts: tf.Tensor) -> list[tf.Tensor]:
    return [tf.cast(tf.range(count), tf.float32) for count in counts]
