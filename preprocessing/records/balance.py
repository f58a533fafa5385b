"""`--balanced_sampling`: every epoch draws equally many examples of each class.

With n examples and k classes that have any, an epoch draws m = ceil(n / k) examples of each. Each
class has its examples in a fixed random order and continues, in every epoch, where the last one has
stopped: a rare class is gone through several times, a frequent one in several epochs. At any time,
no example of a class has been drawn more than once more often than another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from preprocessing.records.labels import Labels
from preprocessing.records.stream import Record, ShardReader, names_of

# Keys the order of the examples of a class, besides the seed. Other numbers give another order.
_ORDER_OF_CLASS = 0x62616C


@dataclass(frozen=True)
class Balance:
    """How often each record of a split is drawn in each epoch.

    Attributes:
        paths: the shards of the split.
        per_shard: int64 [shards], the number of records of each.
        of_each_class: examples of each class in an epoch.
        epoch_size: examples of all classes in an epoch.
        ranks: int64 [records], the place of each among those of its class.
        class_sizes: int64 [records], the number of records of its class.
    """

    paths: tuple[Path, ...]
    per_shard: np.ndarray
    of_each_class: int
    epoch_size: int
    ranks: np.ndarray
    class_sizes: np.ndarray

    @classmethod
    def of(cls, paths: Sequence[Path], labels: Labels, seed: int) -> Balance:
        """Balances the records of `paths`, which have one label each."""
        keys = tf.random.stateless_uniform(
            [len(labels.values)], (seed, _ORDER_OF_CLASS), alg="philox"
        )
        order = np.lexsort((keys.numpy(), labels.values))
        counts = np.bincount(labels.values)
        starts = np.cumsum(counts) - counts
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order)) - starts[labels.values[order]]
        of_each_class, epoch_size = size_of_epoch(counts)
        sizes = counts[labels.values]
        return cls(tuple(paths), labels.per_shard, of_each_class, epoch_size, ranks, sizes)

    def times(self, ranks: Any, sizes: Any, epoch: Any) -> Any:
        """Returns how often records are drawn in an epoch, numbers or int64 of one shape.

        Draw j of a class, counted over all epochs, is its record j modulo its size.
        """
        end, begin = ((e * self.of_each_class - ranks - 1) // sizes for e in (epoch + 1, epoch))
        return end - begin

    def place(self, paths: Sequence[Path], num_examples: int) -> tuple[int, int]:
        """Returns (epoch, position) after `num_examples` of a worker whose shards are `paths`.

        A worker draws the records of its own shards: its epochs differ a little in size.
        """
        owns = np.isin(np.arange(len(self.paths)), [self.paths.index(path) for path in paths])
        if owns.all():
            return divmod(num_examples, self.epoch_size)
        own = np.repeat(owns, self.per_shard)
        ranks, sizes = self.ranks[own], self.class_sizes[own]
        epoch = 0
        while (size := int(self.times(ranks, sizes, epoch).sum())) <= num_examples:
            num_examples -= size
            epoch += 1
        return epoch, num_examples

    def reader(self, read: ShardReader, epoch: tf.Tensor) -> ShardReader:
        """Returns a reader that yields each `Record` of `read` as often as `epoch` draws it."""
        names, ranks, sizes = (
            names_of(self.paths), tf.constant(self.ranks), tf.constant(self.class_sizes)
        )  # fmt: skip
        starts = tf.constant(np.cumsum(self.per_shard) - self.per_shard)

        def drawn(path: tf.Tensor) -> tf.data.Dataset:
            start = tf.reduce_sum(tf.where(names == path, starts, 0))

            def repeated(record: Record) -> tf.data.Dataset:
                number = start + record.index
                times = self.times(ranks[number], sizes[number], epoch)
                return tf.data.Dataset.from_tensors(record).repeat(times)

            return read(path).flat_map(repeated)

        return drawn


def size_of_epoch(counts: np.ndarray) -> tuple[int, int]:
    """Returns how many examples of each class an epoch draws, and how many of all classes.

    Args:
        counts: int64 [classes].
    """
    num_classes = int((counts > 0).sum())
    of_each_class = math.ceil(int(counts.sum()) / num_classes)
    return of_each_class, num_classes * of_each_class
