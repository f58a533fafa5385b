"""From a data set to one slice of the batch per tower.

The batches of one pipeline, dealt out to the towers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.interfaces import Dataset


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
    return distribute(manager, batches)


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
    return distribute(manager, endless)


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


_PREFETCHED_PER_TOWER = 2


def distribute(manager: VariableManager, batches: tf.data.Dataset) -> Iterator:
    """Per-tower values: of an endless `batches`, batch i goes to tower i mod N."""
    batches = _untuned(batches.prefetch(_PREFETCHED_PER_TOWER * manager.num_towers))
    if manager.shares_memory:
        return _SharedBatches(manager, batches)
    options = tf.distribute.InputOptions(experimental_fetch_to_device=True)
    return iter(manager.strategy.distribute_datasets_from_function(lambda _: batches, options))


class _SharedBatches:
    """For towers that share the host's memory: each takes its batch from where it lies."""

    def __init__(self, manager: VariableManager, batches: tf.data.Dataset):
        self._manager = manager
        self._batches = iter(batches)

    def __iter__(self):
        return self

    def __next__(self):
        parts = [self._take() for _ in range(self._manager.num_towers)]
        return self._manager.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group]
        )

    def _take(self):
        if tf.executing_eagerly():
            return next(self._batches)
        # More than 32 times `next` in one graph is an error to TensorFlow.
        return self._batches.get_next_as_optional().get_value()


def _untuned(batches: tf.data.Dataset) -> tf.data.Dataset:
    """`batches` with the parallelism and the buffers that they were given.

    tf.data's tuning thread can miss that its iterator is deleted, and sleep on, for up to a minute,
    while the deletion waits for it: at the end of an evaluation, say, with training behind it.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)
