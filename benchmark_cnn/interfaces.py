"""What the engine asks of a network and of a data set: protocols, so that it names neither."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from common.errors import DataError


class ForwardResult(Protocol):
    """Logits [B, C] float32, auxiliary logits [B, C] or None, and the batch-norm statistics.

    `features` are the outputs of the layers that `Network.observing` named.

    `statistics` maps the checkpoint name of each moving statistic to its value after this batch.
    The network assigns none of them: the engine averages them over towers and micro-batches and
    assigns them once a step, so every tower holds the same values and a checkpoint needs one copy.
    """

    @property
    def logits(self) -> tf.Tensor: ...

    @property
    def aux_logits(self) -> tf.Tensor | None: ...

    @property
    def statistics(self) -> Mapping[str, tf.Tensor]: ...

    @property
    def features(self) -> Sequence[tf.Tensor]: ...


class InferenceNetwork(Protocol):
    """A network prepared for many images: batch norm is part of its convolutions."""

    def updates(self) -> Iterable[tuple[tf.Variable, Callable[..., None], tuple]]:
        """Returns calls that take over the network's weights: `function(variable, *arguments)`.

        They are for `VariableManager.update`, which makes them for each copy of the variable.
        """
        ...

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the logits [B, C] float32 of images as in `Network.__call__`."""
        ...


class Network(Protocol):
    """A network with its variables by checkpoint name.

    Attributes:
        variables: checkpoint name -> variable.
        trainable: names of the variables that gradients update; the rest are moving statistics.
        decayed: names of those that weight decay shrinks (conv, depthwise and dense kernels).
        groups: names of `trainable` by depth; the last group is the classifier.
        background_class: whether output 0 is an unused class, so that label k is output k + 1.
    """

    @property
    def variables(self) -> Mapping[str, tf.Variable]: ...

    @property
    def trainable(self) -> tuple[str, ...]: ...

    @property
    def decayed(self) -> frozenset[str]: ...

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]: ...

    @property
    def background_class(self) -> bool: ...

    def __call__(
        self,
        images: tf.Tensor,
        *,
        training: bool,
        seed: tf.Tensor | None = None,
        frozen: frozenset[str] = frozenset(),
    ) -> ForwardResult:
        """Runs the network on a batch.

        Args:
            images: [B, H, W, 3] uint8 or float32, RGB, 0..255; the network normalizes them.
            training: whether batch norm and dropout behave as in training.
            seed: int32 [2], the key of all randomness of this call.
            frozen: names of variables that are not trained: a batch norm normalizes with those of
                its statistics that are among them, and reports no others for them.
        """
        ...

    def recomputing(self) -> Network:
        """Returns the network with a training that computes activations again, to save memory.

        Raises:
            UsageError: this network cannot.
        """
        ...

    def observing(self, layers: Sequence[str]) -> Network:
        """Returns the network whose results hold the outputs of layers, as `features`.

        Raises:
            UsageError: it has no such layers, or not by name.
        """
        ...

    def quantization_aware(self, variables: Mapping[str, tf.Variable] | None = None) -> Network:
        """Returns the network that rounds what its INT8 file will round, in training and inference.

        The ranges of its activations are among the moving statistics. Call it where variables are
        created, inside `strategy.scope()`.

        Args:
            variables: of the same network for images of another size; None creates new ranges.

        Raises:
            UsageError: this network cannot.
        """
        ...

    def for_inference(self) -> InferenceNetwork:
        """Makes the form of the network for many images.

        Call it where variables are created, inside `strategy.scope()`.
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
        dropout_rate: float | None = None,
        drop_path_rate: float | None = None,
        variables: Mapping[str, tf.Variable] | None = None,
    ) -> Network:
        """Builds the network; call it where variables are created, inside `strategy.scope()`.

        Args:
            variables: of the same network for images of another size, which the two then share;
                None creates new ones.

        Raises:
            UsageError: the network cannot be built with one of these values.
        """
        ...


class MixedLabels(NamedTuple):
    """Labels of images that are mixtures of two.

    Attributes:
        first, second: integers [B], or float32 [B, C] of several labels.
        share_of_first: float32 [B], 0..1; the rest of the target belongs to `second`.
    """

    first: tf.Tensor
    second: tf.Tensor
    share_of_first: tf.Tensor


class BatchAugmentation(Protocol):
    """Changes a training batch on a tower's device, as a function of its arguments alone."""

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> tuple[tf.Tensor, MixedLabels]:
        """Returns the changed images, possibly of another type, and their labels.

        Args:
            images: [B, H, W, 3] uint8 or floating, 0..255.
            labels: integers [B].
            key: int32 [2].
        """
        ...


class DataDescription(NamedTuple):
    """What identifies a data set, for run.json and for the lines that speak of it.

    Attributes:
        title: its own name where it has one ("photos", which is opened as "folder"), else `name`.
        class_names: in the order of the labels, class 0 first; empty if they are not known.
        examples: split -> number of examples, of the splits that a manifest lists.
        manifest_sha256: hash of the manifest, which holds the hash of each shard; None without.
    """

    title: str
    class_names: Sequence[str] = ()
    examples: Mapping[str, int] = {}
    manifest_sha256: str | None = None


class Dataset(Protocol):
    """A labeled image data set, cut into batches for one tower.

    Attributes:
        name: the value of `--data_name`.
        synthetic: whether the images are random, and the same in every batch.
        num_classes: real classes, without a background class.
        multi_label: whether an image has any number of labels.
        batch_augmentation: applied by each tower to every training batch, or None.
    """

    @property
    def name(self) -> str: ...

    @property
    def synthetic(self) -> bool: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def multi_label(self) -> bool: ...

    @property
    def batch_augmentation(self) -> BatchAugmentation | None: ...

    def describe(self) -> DataDescription:
        """Describes the data set, without reading its images."""
        ...

    def num_examples(self, subset: str) -> int:
        """Counts the examples of "train" or "validation".

        Raises:
            DataError: the subset is missing, incomplete or damaged.
        """
        ...

    def examples_per_epoch(self, subset: str) -> int:
        """Counts the examples of an epoch of `train_batches`; a balanced one may have others.

        Raises:
            DataError: as `num_examples`.
        """
        ...

    def class_counts(self, subset: str) -> np.ndarray:
        """Counts the examples of each class: int64 [num_classes].

        Raises:
            DataError: the subset is missing or damaged, or a label is out of range.
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
        """Returns the endless training stream: epoch after epoch, in batches that cross epochs.

        Order and augmentation are pure functions of (seed, epoch, position).

        Args:
            start_example: number of examples to skip. They are not decoded; the rest equals the
                tail of the stream from 0.
            shard: (index, count): the share of one worker. Shares do not overlap.
            subset: the subset to train on.

        Returns:
            Images uint8 or float32 [batch_size, image_size, image_size, 3], RGB, 0..255, and
            labels int32 [batch_size], 0..num_classes-1. If an image has several labels, they are
            float32 [batch_size, num_classes], 1 for each class of an image.

        Raises:
            DataError: files of the subset are missing or incomplete.
        """
        ...

    def eval_batches(
        self,
        *,
        batch_size: int,
        image_size: int,
        subset: str = "validation",
        shard: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Returns every example once, in the order of the files; the last batch is padded.

        Args:
            shard: (index, count): a worker's share, every count-th example.

        Returns:
            Images and labels as in `train_batches`, and is_real, bool [batch_size]: False marks
            padding, whose image and label mean nothing. With several views of each image (`--tta`)
            they are [batch_size, views, image_size, image_size, 3].

        Raises:
            DataError: files of the subset are missing or incomplete.
        """
        ...

    def records_of(
        self, *, start_example: int, count: int, seed: int, subset: str = "train"
    ) -> Sequence[tuple[str, int]]:
        """Names the examples of a part of `train_batches`, without reading their images.

        Args:
            start_example: number of examples before the first one.

        Returns:
            (path of a file, number of the record in it, from 0) of each; empty if it is not known.
        """
        ...

    def explain(self, error: tf.errors.OpError, subset: str) -> DataError:
        """Explains in one line, naming the file, an error of an iterator over `subset`."""
        ...
