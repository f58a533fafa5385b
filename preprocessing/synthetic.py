"""Random images with a data set's shapes: the benchmark mode, without disk and decoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from benchmark_cnn.interfaces import DataDescription
from common.errors import DataError, UsageError
from preprocessing.augmentation.batch_augmentation import BatchAugmentation

# The pixel statistics of tf_cnn_benchmarks since 2017.
PIXEL_MEAN = 127.0
PIXEL_STD = 60.0


def synthetic_batch(
    batch_size: int, image_size: int, num_classes: int, seed: int, tower: int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws one batch of random images and labels, a pure function of its arguments.

    Returns:
        (images uint8 [batch_size, image_size, image_size, 3] of a normal distribution truncated at
        two standard deviations, 7 to 247; labels int32 [batch_size], uniform in 0..num_classes-1).
    """
    image_seed, label_seed = (seed, 2 * tower), (seed, 2 * tower + 1)
    images = tf.random.stateless_truncated_normal(
        [batch_size, image_size, image_size, 3], image_seed, PIXEL_MEAN, PIXEL_STD
    )
    labels = tf.random.stateless_uniform([batch_size], label_seed, 0, num_classes, tf.int32)
    return tf.cast(tf.round(images), tf.uint8), labels


@dataclass(frozen=True)
class SyntheticDataset:
    """A `benchmark_cnn.interfaces.Dataset` that repeats one batch."""

    name: str
    num_classes: int
    sizes: dict[str, int]
    synthetic: bool = True
    multi_label: bool = False
    batch_augmentation: BatchAugmentation | None = None

    def describe(self) -> DataDescription:
        """Describes the data set, whose classes have no names."""
        return DataDescription(self.name)

    def num_examples(self, subset: str) -> int:
        """Returns the number of examples of the data set with this name."""
        return self.sizes[subset]

    def examples_per_epoch(self, subset: str) -> int:
        """Returns the number of examples."""
        return self.num_examples(subset)

    def class_counts(self, subset: str) -> np.ndarray:
        """Refuses to count random labels.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"the {subset} images are synthetic: there are no classes to count")

    def train_batches(
        self,
        *,
        batch_size: int,
        image_size: int,
        seed: int,
        start_example: int = 0,
        shard: tuple[int, int] = (0, 1),
        subset: str = "train",
    ) -> tf.data.Dataset:
        """Draws one batch and repeats it forever; the same for both subsets."""
        del subset
        images, labels = synthetic_batch(batch_size, image_size, self.num_classes, seed, shard[0])
        shift = -(start_example % batch_size)
        rolled = (tf.roll(images, shift, axis=0), tf.roll(labels, shift, axis=0))
        return tf.data.Dataset.from_tensors(rolled).repeat()

    def eval_batches(
        self,
        *,
        batch_size: int,
        image_size: int,
        subset: str = "validation",
        shard: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Repeats one batch as often as the subset fills it; the last one is masked."""
        images, labels = synthetic_batch(batch_size, image_size, self.num_classes, seed=0)
        index, count = shard
        num_examples = (self.num_examples(subset) - index + count - 1) // count
        num_full, num_rest = divmod(num_examples, batch_size)

        def batch(num_real: int) -> tf.data.Dataset:
            is_real = tf.range(batch_size) < num_real
            return tf.data.Dataset.from_tensors((images, labels, is_real))

        full = batch(batch_size).repeat(num_full)
        return full.concatenate(batch(num_rest)) if num_rest else full

    def records_of(self, **_) -> list[tuple[str, int]]:
        """Returns nothing: the images are in no file."""
        return []

    def explain(self, error: tf.errors.OpError, subset: str) -> DataError:
        """Returns the first line of the error: no file is read that it could name."""
        return DataError(f"synthetic images: {(error.message or str(error)).splitlines()[0]}")
