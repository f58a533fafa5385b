"""The variable manager of asynchronous training, and the batches of its workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute import distribute_utils, ps_values

from benchmark_cnn.distribution.batches import without_autotune
from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.interfaces import Dataset

_PREFETCHED_BATCHES = 2


class AsynchronousManager(VariableManager):
    """Variables on the parameter servers; a tower is a worker's own."""

    is_asynchronous = True

    def __init__(self, strategy: tf.distribute.ParameterServerStrategy, *, num_workers: int):
        super().__init__(strategy, exchanges=False)
        self.coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self.num_workers = num_workers

    def counters(self) -> contextlib.AbstractContextManager:
        """Returns a context that places the counters on the parameter servers, too."""
        return self.scope()

    def run_towers(self, tower: Callable, args: tuple):
        """Runs `tower` on the worker, which fetches each weight once."""
        with distribute_utils.cache_variable_reads():
            return super().run_towers(tower, args)

    def update(self, variable, function: Callable, args: tuple):
        """Calls `function` on the variable's server, with what is there and not what was read."""
        args = tf.nest.map_structure(_on_server, args)
        return super().update(_on_server(variable), function, args)

    def batches(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        image_size: int,
        seed: int,
        start_example: int,
        subset: str,
    ):
        """Returns an iterator over (images, labels) on each worker, of its own share of the files.

        A worker that comes back begins its share again where the run was started.
        """
        graphs, spec = [], None
        for index in range(self.num_workers):
            batches = without_autotune(
                dataset.train_batches(
                    batch_size=batch_size,
                    image_size=image_size,
                    seed=seed,
                    start_example=start_example // self.num_workers,
                    shard=(index, self.num_workers),
                    subset=subset,
                ).prefetch(_PREFETCHED_BATCHES)
            )
            spec = batches.element_spec
            graphs.append(
                tf.raw_ops.DatasetToGraphV2(
                    input_dataset=tf.data.experimental.to_variant(batches),
                    strip_device_assignment=True,
                ).numpy()
            )

        def of_worker() -> tf.data.Dataset:
            index = tf.distribute.coordinator.experimental_get_current_worker_index()
            variant = tf.raw_ops.DatasetFromGraph(graph_def=tf.gather(tf.constant(graphs), index))
            return tf.data.experimental.from_variant(variant, spec)

        return iter(self.coordinator.create_per_worker_dataset(of_worker))


def _on_server(value: Any):
    return value.get() if isinstance(value, ps_values.CachingVariable) else value
