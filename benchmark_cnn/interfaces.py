"""What the engine asks of a network; `models` builds objects of this shape.

What every data set offers to the engine: sizes, an endless training stream, an exact pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf

from common.errors import DataError


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
        images: [B, H, W, 3] uint8 or float32, RGB, 0..255; the network normalizes them.
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


class Dataset(Protocol):
    """A labeled image data set, cut into batches for one tower."""

    @property
    def name(self) -> str:
        """The data set's name, as `--data_name` takes it."""
        ...

    @property
    def synthetic(self) -> bool:
        """Whether the images are random, and the same in every batch."""
        ...

    @property
    def num_classes(self) -> int:
        """Real classes, without a background class."""
        ...

    @property
    def batch_augmentation(self) -> Any:
        """What a tower does with every training batch on its device, or None.

        A callable from (images and labels as in `train_batches`, key int32 [2]) to (images,
        (labels, second labels, the first ones' shares float32 [batch])); see `BatchAugmentation`.
        """
        ...

    def num_examples(self, subset: str) -> int:
        """Examples in "train" or "validation".

        Raises:
            DataError: the subset is missing, incomplete or damaged.
        """
        ...

    def train_batches(
        self,
        *,
        batch_size: int,
        image_size: int,
        seed: int,
        start_example: int = 0,
        shard: tuple[int, int] = (0, 1),
        subset: str = "train",
    ) -> tf.data.Dataset:
        """The endless training stream: epoch 0, epoch 1, ..., in batches that cross the borders.

        The order and the augmentation are pure functions of (seed, epoch, position). A stream
        that starts at example n is the stream from 0 without its first n examples; what is left
        out is not decoded. `shard` is (index, count): the share of one worker, without overlap.
        `subset` is the one whose examples are trained on.

        Returns:
            (images uint8 or float32 [batch_size, image_size, image_size, 3] in 0..255 RGB,
            labels int32 [batch_size] in 0..num_classes-1).

        Raises:
            DataError: the files of the subset are missing or incomplete.
        """
        ...

    def eval_batches(
        self, *, batch_size: int, image_size: int, subset: str = "validation"
    ) -> tf.data.Dataset:
        """Every example once, in the order of the files; the last batch is padded.

        Returns:
            (images as in `train_batches`, labels, is_real bool [batch_size]); where `is_real` is
            false the image and the label mean nothing.

        Raises:
            DataError: the files of the subset are missing or incomplete.
        """
        ...

    def explain(self, error: tf.errors.OpError) -> DataError:
        """Say in one line what an error that left one of the iterators means, naming the file."""
        ...


class BatchAugmentation(Protocol):
    """What changes a training batch on a tower's device, as a function of its arguments alone."""

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """(images, (labels, second labels, the first ones' shares float32 [B])).

        Args:
          images: [B, H, W, 3] uint8 or floating, 0..255; these may come back as another type.
          labels: [B] integers.
          key: int32 [2].
        """
        ...
