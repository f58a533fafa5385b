"""From a data set to one slice of the batch per tower."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import tensorflow as tf

from benchmark_cnn import tower_batches
from benchmark_cnn.variable_mgr import VariableManager


class BatchAugmentation(Protocol):
    """What changes a training batch on a tower's device, as a function of its arguments alone."""

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """(images, (labels, second labels, the first ones' shares float32 [B])).

        Args:
          images: [B, H, W, 3] uint8 or floating, 0..255; these may come back as another type.
          labels: [B] integers.
          key: int32 [2].
        """
        ...


class Dataset(Protocol):
    """What the engine asks of a data set; preprocessing/dataset.py says what each part means."""

    @property
    def name(self) -> str: ...

    @property
    def synthetic(self) -> bool: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def batch_augmentation(self) -> BatchAugmentation | None: ...

    def num_examples(self, subset: str) -> int: ...

    def train_batches(
        self,
        *,
        batch_size: int,
        image_size: int,
        seed: int,
        start_example: int = 0,
        shard: tuple[int, int] = (0, 1),
        subset: str = "train",
    ) -> tf.data.Dataset: ...

    def eval_batches(
        self, *, batch_size: int, image_size: int, subset: str = "validation"
    ) -> tf.data.Dataset: ...

    def explain(self, error: tf.errors.OpError) -> Exception: ...


class _SameBatch:
    """Batches that never change and live on the towers' devices: the benchmark's input."""

    def __init__(self, batch: tuple):
        self.batch = batch

    def __iter__(self):
        return self

    def __next__(self):
        return self.batch


def training_batches(
    manager: VariableManager,
    dataset: Dataset,
    *,
    batch_size: int,
    image_size: int,
    seed: int,
    start_example: int = 0,
    subset: str = "train",
) -> Iterator:
    """Endless (images, labels) of per-tower values; batch i of the stream goes to tower i % N.

    Args:
      batch_size: examples per tower and step.
      start_example: position in the stream to begin with, for a resumed run.
      subset: the one to train on.
    """
    if dataset.synthetic:
        return _SameBatch(_synthetic(manager, dataset, batch_size, image_size, seed))
    batches = dataset.train_batches(
        batch_size=batch_size,
        image_size=image_size,
        seed=seed,
        start_example=start_example,
        subset=subset,
    )
    return tower_batches.distribute(manager, batches)


def evaluation_batches(
    manager: VariableManager, dataset: Dataset, *, batch_size: int, image_size: int, subset: str
) -> Iterator:
    """(images, labels, is_real) of per-tower values: every example once, then padding for ever.

    The padding (is_real all false) keeps every tower busy to the same last step.
    """
    real = dataset.eval_batches(batch_size=batch_size, image_size=image_size, subset=subset)
    spec: Any = real.element_spec
    images, labels, _ = spec
    padding = (
        tf.zeros([batch_size, *images.shape[1:]], images.dtype),
        tf.zeros([batch_size], labels.dtype),
        tf.zeros([batch_size], tf.bool),
    )
    endless = real.concatenate(tf.data.Dataset.from_tensors(padding).repeat())
    return tower_batches.distribute(manager, endless)


def _synthetic(manager, dataset, batch_size, image_size, seed) -> tuple:
    def value(part: int):
        def on_tower(context: tf.distribute.ValueContext) -> tf.Tensor:
            shard = (context.replica_id_in_sync_group, context.num_replicas_in_sync)
            batches = dataset.train_batches(
                batch_size=batch_size, image_size=image_size, seed=seed, shard=shard
            )
            return next(iter(batches))[part]

        return manager.strategy.experimental_distribute_values_from_function(on_tower)

    return value(0), value(1)
