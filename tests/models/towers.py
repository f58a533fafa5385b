"""Runs a function on several towers of one batch, as the engine does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def mirrored(num_towers: int) -> tf.distribute.Strategy:
    # The default, collective all-reduce, can serve only one number of towers in a process.
    return tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(num_towers)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def central_storage(num_towers: int) -> tf.distribute.Strategy:
    return tf.distribute.experimental.CentralStorageStrategy(
        compute_devices=[f"CPU:{index}" for index in range(num_towers)], parameter_device="CPU:0"
    )


def split(strategy: tf.distribute.Strategy, batch: Any) -> Any:
    """Splits a batch into equal slices, one for each tower."""
    num_towers = strategy.num_replicas_in_sync
    slices = tf.split(tf.convert_to_tensor(batch), num_towers)
    return strategy.experimental_distribute_values_from_function(
        lambda context: slices[context.replica_id_in_sync_group]
    )


def run(
    strategy: tf.distribute.Strategy, function: Callable[..., Any], *arguments: Any
) -> list[list[Any]]:
    """Returns the function's list of results on each tower; all are traced as one graph."""

    @tf.function
    def traced(*arguments: Any) -> Any:
        results = strategy.run(function, args=arguments)
        return [strategy.experimental_local_results(result) for result in results]

    return [list(tower) for tower in zip(*traced(*arguments), strict=True)]
