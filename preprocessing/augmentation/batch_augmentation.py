"""What is done to a batch of training images on its device: random erasing, mixup, CutMix.

It costs the host nothing. The engine calls it in every tower with a key of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from benchmark_cnn.interfaces import MixedLabels
from preprocessing.augmentation.mixup import cutmix, mixed_labels, mixup, mixup_or_cutmix
from preprocessing.augmentation.random_erasing import erase
from preprocessing.options import BatchOptions


@dataclass(frozen=True)
class BatchAugmentation:
    """The augmentation that `options` ask for. Images are erased first, then mixed."""

    options: BatchOptions

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> tuple[tf.Tensor, MixedLabels]:
        """A changed batch, a function of the arguments alone.

        Args:
            images: uint8 or floating [batch, height, width, 3] in 0..255.
            labels: integers [batch].
            key: int32 [2].

        Returns:
            (images, labels). The images keep their type, but that bytes that mixup has added up
            are float32.
        """
        options = self.options
        key_of_erasing, key_of_mixing = tf.unstack(tf.random.split(key, 2))
        if options.random_erasing:
            images = erase(images, key_of_erasing, options.random_erasing)
        if options.mixup_alpha and options.cutmix_alpha:
            images, shares = mixup_or_cutmix(
                images, key_of_mixing, options.mixup_alpha, options.cutmix_alpha
            )
        elif options.mixup_alpha:
            images, shares = mixup(images, key_of_mixing, options.mixup_alpha)
        elif options.cutmix_alpha:
            images, shares = cutmix(images, key_of_mixing, options.cutmix_alpha)
        else:
            shares = tf.ones(tf.shape(labels))
        return images, mixed_labels(labels, shares)
