"""The batches of one pipeline, dealt out to the towers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.interfaces import Dataset

_PREFETCHED_PER_TOWER = 2


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
    """Yields (images, labels) of per-tower values without end.

    Synthetic batches never change and stay on the towers' devices.

    Args:
        batch_size: examples per tower and step.
        start_example: examples that all workers have seen, from which a resumed run continues.
        subset: the subset to train on.
    """
    if dataset.synthetic:
        return itertools.repeat(_synthetic(manager, dataset, batch_size, image_size, seed))
    batches = dataset.train_batches(
        batch_size=batch_size,
        image_size=image_size,
        seed=seed,
        start_example=start_example // manager.worker[1],
        shard=manager.worker,
        subset=subset,
    )
    return distribute(manager, batches)


def evaluation_batches(
    manager: VariableManager, dataset: Dataset, *, batch_size: int, image_size: int, subset: str
) -> Iterator:
    """Yields (images, labels, is_real) of per-tower values: every example once, then padding.

    The endless padding (is_real all False) keeps every tower busy up to the same last step.
    """
    real = dataset.eval_batches(
        batch_size=batch_size, image_size=image_size, subset=subset, shard=manager.worker
    )
    spec: Any = real.element_spec
    images, labels, _ = spec
    padding = (
        tf.zeros([batch_size, *images.shape[1:]], images.dtype),
        tf.zeros([batch_size, *labels.shape[1:]], labels.dtype),
        tf.zeros([batch_size], tf.bool),
    )
    endless = real.concatenate(tf.data.Dataset.from_tensors(padding).repeat())
    return distribute(manager, endless)


def distribute(manager: VariableManager, batches: tf.data.Dataset) -> Iterator:
    """Yields per-tower values of an endless `batches`: batch i goes to local tower i mod N."""
    batches = without_autotune(batches.prefetch(_PREFETCHED_PER_TOWER * manager.num_local_towers))
    if manager.shares_memory:
        return _SharedBatches(manager, batches)
    # With one batch, a GPU would wait whenever decoding is late by less than a step.
    options = tf.distribute.InputOptions(
        experimental_fetch_to_device=True, experimental_per_replica_buffer_size=2
    )
    return iter(manager.strategy.distribute_datasets_from_function(lambda _: batches, options))


def without_autotune(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Disables tf.data autotuning: its thread can delay the deletion of an iterator by a minute.

    The delay would come at the end of an evaluation, for example, with training waiting.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


class _SharedBatches:
    """The iterator for towers that share the host's memory: no batch is copied."""

    def __init__(self, manager: VariableManager, batches: tf.data.Dataset):
        self._manager = manager
        self._batches = iter(batches)

    def __iter__(self):
        return self

    def __next__(self):
        count = self._manager.num_local_towers
        parts = [self._take() for _ in range(count)]
        return self._manager.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group % count]
        )

    def _take(self):
        if tf.executing_eagerly():
            return next(self._batches)
        # TensorFlow rejects more than 32 calls of `next` in one graph.
        return self._batches.get_next_as_optional().get_value()


def _synthetic(manager, dataset, batch_size, image_size, seed) -> tuple:
    devices = manager.strategy.extended.worker_devices

    def value(part: int):
        def on_tower(context: tf.distribute.ValueContext) -> tf.Tensor:
            shard = (context.replica_id_in_sync_group, context.num_replicas_in_sync)
            batches = dataset.train_batches(
                batch_size=batch_size, image_size=image_size, seed=seed, shard=shard
            )
            # An eager iterator yields tensors on the host, which every step would copy again.
            with tf.device(devices[context.replica_id_in_sync_group % len(devices)]):
                return tf.identity(next(iter(batches))[part])

        return manager.strategy.experimental_distribute_values_from_function(on_tower)

    return value(0), value(1)
