"""Augmentation of a batch of training images on its device: random erasing, mixup, CutMix.

It costs the host nothing. The engine calls it in every tower with its own key.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from benchmark_cnn.interfaces import MixedLabels
from benchmark_cnn.params.data_params import DataParams
from preprocessing.augmentation.mixup import cutmix, mixed_labels, mixup, mixup_or_cutmix
from preprocessing.augmentation.random_erasing import erase


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
            labels: integers [batch].
            key: int32 [2].

        Returns:
            (images, labels). The images keep their type, except that mixup turns uint8 into
            float32.
        """
        data = self.data
        key_of_erasing, key_of_mixing = tf.unstack(tf.random.split(key, 2))
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
            shares = tf.ones(tf.shape(labels))
        return images, mixed_labels(labels, shares)
