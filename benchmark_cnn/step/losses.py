"""Weight decay as a term of the loss, and which weights decay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import tensorflow as tf


def l2_penalty(tensors: Sequence[tf.Tensor | tf.Variable], weight_decay: float) -> tf.Tensor:
    """Computes `0.5 * weight_decay * sum of squares`; its gradient is `weight_decay * v`.

    Args:
        tensors: float32, any shapes, summed in this order (which has to be the network's: the
            order of a set differs from run to run). None at all give 0.
        weight_decay: the L2 factor.
    """
    if not tensors or not weight_decay:
        return tf.zeros([], tf.float32)
    return weight_decay * tf.add_n([tf.nn.l2_loss(tensor) for tensor in tensors])


def decayed_names(network_decayed: Iterable[str], exclude_regex: str | None) -> frozenset[str]:
    """Returns the checkpoint names of the variables that decay.

    Args:
        network_decayed: names of the conv, depthwise and dense kernels, as the network lists them.
        exclude_regex: excludes the names in which it is found, anywhere; None excludes nothing.
    """
    if exclude_regex is None:
        return frozenset(network_decayed)
    excluded = re.compile(exclude_regex)
    return frozenset(name for name in network_decayed if not excluded.search(name))
