"""What the layers of a network need to know of the call they run in.

A network call sets a forward pass; inside it, random layers take their seed from it and batch norm
reports its moving statistics to it instead of assigning them. It is kept per thread, because the
towers of a MirroredStrategy are traced in threads of their own.
"""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf


@dataclass
class ForwardPass:
    """One call of a network on one tower.

    `statistics` holds, by identity of the variable, the value it would take after this batch.
    """

    seed: tf.Tensor | None
    statistics: dict[int, tf.Tensor] = field(default_factory=dict)

    def layer_seed(self, layer_name: str) -> tf.Tensor:
        """The int32 [2] seed of one layer; ValueError where the call was given none."""
        if self.seed is None:
            raise ValueError(
                f"layer {layer_name!r} is random in training: the network call needs a seed"
            )
        return tf.bitwise.bitwise_xor(self.seed, tf.constant(name_hash(layer_name), tf.int32))

    def average_in(self, variable: Any, batch_value: tf.Tensor, momentum: float) -> None:
        """Reports momentum * variable + (1 - momentum) * batch_value for a moving statistic.

        A layer that is called twice in one pass averages in both batches, one after the other.
        """
        current = self.statistics.get(id(variable))
        if current is None:
            current = tf.convert_to_tensor(variable)
        self.statistics[id(variable)] = current + (batch_value - current) * (1.0 - momentum)


def name_hash(layer_name: str) -> tuple[int, int]:
    """Two int32 words that depend on the name alone, in every process (Python's hash() does not).

    Two words, so that no two layers can share a mask at neighboring steps or towers.
    """
    words = (zlib.crc32(layer_name.encode()), zlib.crc32(b"second word of " + layer_name.encode()))
    first, second = (word - (1 << 32) if word >= 1 << 31 else word for word in words)
    return first, second


_thread = threading.local()


def current() -> ForwardPass | None:
    """The forward pass of this thread; None outside a network call, as in plain Keras use."""
    return getattr(_thread, "forward_pass", None)


@contextlib.contextmanager
def forward_pass(seed: tf.Tensor | None) -> Iterator[ForwardPass]:
    """Makes a new forward pass the current one of this thread, for the length of a `with`."""
    outer = current()
    _thread.forward_pass = ForwardPass(seed)
    try:
        yield _thread.forward_pass
    finally:
        _thread.forward_pass = outer
