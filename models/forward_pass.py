"""The state of one call of a network, for its layers.

Inside a call, random layers take their seed from the forward pass, and batch norm reports its
moving statistics to it instead of assigning them. A network that only answers may hand it values
that replace variables (models/folding.py). Each thread has its own, because a
MirroredStrategy traces each tower in a thread of its own.
"""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf


@dataclass
class ForwardPass:
    """One call of a network on one tower.

    Attributes:
        frozen: ids of the moving statistics and of the layers that act as in inference.
        values: id of a variable -> what layers compute with in its place.
        offsets: id of the beta of a batch norm that the convolution before it took in -> what it
            adds; it does nothing else.
        statistics: id of a moving statistic -> its value after this batch.
        batch_norms: scope -> epsilon of each batch norm of TF-Slim that was called.
    """

    seed: tf.Tensor | None
    frozen: frozenset[int] = frozenset()
    values: Mapping[int, Any] = field(default_factory=dict)
    offsets: Mapping[int, Any] = field(default_factory=dict)
    statistics: dict[int, tf.Tensor] = field(default_factory=dict)
    batch_norms: dict[str, float] = field(default_factory=dict)

    def layer_seed(self, layer_name: str) -> tf.Tensor:
        """Returns the seed of one layer, int32 [2]; raises ValueError if the call has none."""
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
    """Returns two int32 words that are the same in every process, unlike Python's hash().

    One word would let two layers share a mask at neighboring steps or towers.
    """
    words = (zlib.crc32(layer_name.encode()), zlib.crc32(b"second word of " + layer_name.encode()))
    first, second = (word - (1 << 32) if word >= 1 << 31 else word for word in words)
    return first, second


_thread = threading.local()


def current() -> ForwardPass | None:
    """Returns the forward pass of this thread; None outside a network call."""
    return getattr(_thread, "forward_pass", None)


def is_frozen(part: Any) -> bool:
    """Returns whether a moving statistic or a layer is in a part that this call does not train."""
    current_pass = current()
    return current_pass is not None and id(part) in current_pass.frozen


def value_of(variable: Any) -> Any:
    """Returns what replaces a variable in this call; None if nothing does."""
    current_pass = current()
    return None if current_pass is None else current_pass.values.get(id(variable))


def offset_of(beta: Any) -> Any:
    """Returns what a batch norm adds that a convolution took in; None if it is not taken in."""
    current_pass = current()
    return None if current_pass is None else current_pass.offsets.get(id(beta))


@contextlib.contextmanager
def forward_pass(
    seed: tf.Tensor | None,
    frozen: frozenset[int] = frozenset(),
    values: Mapping[int, Any] | None = None,
    offsets: Mapping[int, Any] | None = None,
) -> Iterator[ForwardPass]:
    """Makes a new forward pass the current one of this thread inside a `with` block."""
    outer = current()
    _thread.forward_pass = ForwardPass(seed, frozen, values or {}, offsets or {})
    try:
        yield _thread.forward_pass
    finally:
        _thread.forward_pass = outer
