"""What the engine asks of a network; `models` builds objects of this shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import tensorflow as tf


class ForwardResult(Protocol):
    """logits [B, C] float32, auxiliary logits [B, C] or None, and the batch-norm statistics.

    statistics: checkpoint name of a moving statistic -> the value it would take after this batch.
    The network assigns none of them: the engine averages them over towers and micro-batches and
    assigns once a step, so that every tower holds the same and a checkpoint needs one of each.
    """

    @property
    def logits(self) -> tf.Tensor: ...

    @property
    def aux_logits(self) -> tf.Tensor | None: ...

    @property
    def statistics(self) -> Mapping[str, tf.Tensor]: ...


class Network(Protocol):
    """A network with its variables by checkpoint name.

    trainable: names of the variables that gradients update; the others are moving statistics.
    decayed: names of those that weight decay shrinks (conv, depthwise and dense kernels).
    background_class: output 0 is an unused class, so that label k is output k + 1.
    """

    variables: Mapping[str, tf.Variable]
    trainable: tuple[str, ...]
    decayed: frozenset[str]
    background_class: bool

    def __call__(
        self, images: tf.Tensor, *, training: bool, seed: tf.Tensor | None = None
    ) -> ForwardResult:
        """images [B, H, W, 3] uint8 or float32, 0..255; seed int32 [2], the key of its randomness."""
        ...
