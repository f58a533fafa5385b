"""The batches of one pipeline, dealt out to the towers."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from benchmark_cnn.variable_mgr import VariableManager

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
