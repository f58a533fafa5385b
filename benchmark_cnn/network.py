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

    @property
    def variables(self) -> Mapping[str, tf.Variable]: ...

    @property
    def trainable(self) -> tuple[str, ...]: ...

    @property
    def decayed(self) -> frozenset[str]: ...

    @property
    def background_class(self) -> bool: ...

    def __call__(
        self, images: tf.Tensor, *, training: bool, seed: tf.Tensor | None = None
    ) -> ForwardResult:
        """Args:
        images: [B, H, W, 3] uint8 or float32, RGB, 0..255; the network normalises them.
        seed: int32 [2], the key of all randomness of this call.
        """
        ...


class NetworkSpec(Protocol):
    """A network's entry in its registry: its defaults, and how it is built."""

    @property
    def name(self) -> str: ...

    @property
    def image_size(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def learning_rate(self) -> float: ...

    def build(
        self,
        *,
        num_classes: int,
        image_size: int,
        dtype: str,
        data_format: str,
        sync_batch_norm: bool,
    ) -> Network: ...
