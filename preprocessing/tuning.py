"""Pipelines that run with the parallelism and the buffers that they were given."""

from __future__ import annotations

import tensorflow as tf


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset` without tf.data's tuning, in whatever iterates over it.

    The tuning thread can miss that its iterator is deleted, and sleep on, for up to a minute, while
    the deletion waits for it.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
