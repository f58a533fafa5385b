"""Seeds that depend on (seed, worker, epoch, position) and on nothing that happened before."""

from __future__ import annotations

import tensorflow as tf

from benchmark_cnn.distribution.devices import HOST

# Positions of an epoch and epochs share one 64-bit word, shard numbers and draws the other.
_EPOCH_SHIFT = 40
_SHARD_SHIFT = 40
_DRAW_SHIFT = 56


def example_seed(seed: int, shard_index: int, epoch: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Returns the seed of one example's augmentation: int64 [2].

    Args:
        seed: the run's seed; 32 bits of it are used.
        shard_index: the worker's number, so that workers draw differently.
        epoch: int64 scalar.
        position: int64 scalar, the example's place in its epoch.
    """
    worker = (seed & 0xFFFFFFFF) | (shard_index << _SHARD_SHIFT)
    place = tf.bitwise.left_shift(epoch, tf.constant(_EPOCH_SHIFT, tf.int64)) + position
    return tf.stack([tf.constant(worker, tf.int64), place])


def fold_in(seed: tf.Tensor, draw: int) -> tf.Tensor:
    """Returns the seed of draw number `draw`, 1 to 127: each random operation has its own."""
    return seed + tf.constant([draw << _DRAW_SHIFT, 0], tf.int64)


def split_key(key: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Returns `count` keys, int32 [2] each, that follow from one; on the host.

    On a GPU each of them would be computed there, and wait for it on its way to a kernel that reads
    its seed on the host.
    """
    with tf.device(HOST):
        return tf.unstack(tf.random.split(key, count))
