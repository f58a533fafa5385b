"""A trained network whose outputs another one learns from: its weights, and what identifies it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.interfaces import Dataset, InferenceNetwork, Network, NetworkSpec
from benchmark_cnn.params.data_params import NetworkParams
from checkpoints import restore_plan, store, tensor_roles
from common.errors import DataError

_HINTS = restore_plan.RestoreHints(
    averages="give a checkpoint with its weights",
    prefix="give the --teacher that it is of",
    otherwise="give the --teacher that it is of",
)


# Multiply-adds of a training step, in those of a forward pass: forward, and backward to activations
# and to weights.
_STEP = 3


class Taught(NamedTuple):
    """What a teacher says of the images of a batch.

    Attributes:
        logits: float32 [B, classes], without a background class.
        features: outputs of the layers that were asked for.
    """

    logits: tf.Tensor
    features: tuple[tf.Tensor, ...] = ()


@dataclasses.dataclass(frozen=True)
class Teaching:
    """A teacher on the towers; called within one, it answers the images of a batch.

    Attributes:
        network: built for the largest images.
        answering: image size in pixels -> what answers images of that size.
        observed: image size in pixels -> the network that also gives features; {} without any.
            Batch norm is not folded there: a folded convolution has other outputs than its own.
    """

    network: Network
    answering: Mapping[int, InferenceNetwork]
    observed: Mapping[int, Network] = dataclasses.field(default_factory=dict)

    def __call__(self, images: tf.Tensor) -> Taught:
        """Answers images as a network takes them."""
        size: Any = images.shape[1]
        if size in self.observed:
            output = self.observed[size](images, training=False)
            logits, features = output.logits, output.features
        else:
            logits, features = self.answering[size](images), ()
        logits = tf.cast(logits[:, int(self.network.background_class) :], tf.float32)
        return Taught(tf.stop_gradient(logits), tuple(map(tf.stop_gradient, features)))


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A network with weights of a checkpoint: moving averages where there are any.

    Attributes:
        prefix: of the checkpoint.
        given: what the user gave for it.
        values: name of a variable -> its value.
        is_averaged: whether these are moving averages.
        class_names: of its run; empty if they are not known.
        multiply_adds: (network, image size) -> those of the forward pass of an image; None counts
            none.
    """

    spec: NetworkSpec
    prefix: str
    given: str
    values: Mapping[str, np.ndarray]
    is_averaged: bool
    class_names: Sequence[str] = ()
    multiply_adds: Callable[[Any, int], int] | None = None

    @property
    def where(self) -> str:
        """The beginning of messages about it."""
        return f"--teacher_checkpoint={self.given}"

    @property
    def identity(self) -> dict[str, Any]:
        """What run.json holds of it; `sha256` is that of the values."""
        digest = hashlib.sha256()
        for name, value in sorted(self.values.items()):
            digest.update(f"{name} {value.dtype} {value.shape}\0".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return {
            "model": self.spec.name,
            "checkpoint": os.path.basename(self.prefix),
            "averaged": self.is_averaged,
            "sha256": digest.hexdigest(),
        }

    def check_classes(self, dataset: Dataset) -> None:
        """Compares the names of its classes with those of the data, where both are known.

        Raises:
            DataError: they differ.
        """
        about = dataset.describe()
        ours, theirs = list(about.class_names), list(self.class_names)
        if not (ours and theirs) or ours == theirs:
            return
        differing = (pair for pair in zip(theirs, ours, strict=False) if pair[0] != pair[1])
        its, our = next(differing, (f"{len(theirs)} classes", f"{len(ours)} classes"))
        raise DataError(
            f"{self.where}: the teacher learned other classes than those of {about.title} ({its} "
            f"where the data have {our}): give a teacher of these classes"
        )

    def build(
        self,
        flags: NetworkParams,
        manager: VariableManager,
        num_classes: int,
        image_sizes: Iterable[int],
        layers: Sequence[str] = (),
    ) -> Teaching:
        """Builds the network on the towers, in the precision and layout of the student.

        Args:
            image_sizes: of the batches, in pixels.
            layers: names of those whose outputs are features.

        Raises:
            DataError: the checkpoint is another network's, or has another number of classes.
            UsageError: it has no such layers.
        """
        network, answering, observed = None, {}, {}
        for image_size in sorted(image_sizes, reverse=True):
            with manager.scope():
                of_size = self.spec.build(
                    num_classes=num_classes,
                    image_size=image_size,
                    dtype=flags.dtype,
                    data_format=flags.data_format,
                    sync_batch_norm=False,
                    variables=None if network is None else network.variables,
                )
                answering[image_size] = of_size.for_inference()
            if layers:
                observed[image_size] = of_size.observing(layers)
            if network is None:
                network = of_size
                for name, key in self._plan(network, num_classes, image_size).items():
                    network.variables[name].assign(self.values[key])
            for variable, function, arguments in answering[image_size].updates():
                manager.update(variable, function, arguments)
        assert network is not None
        return Teaching(network, answering, observed)

    def lines(self, teaching: Teaching, student: Network, image_size: int) -> list[str]:
        """Returns what a run prints of its teacher: which one it is, and what it costs.

        Args:
            image_size: that the student is built for, in pixels. Without a teacher of this size
                there is no line about the cost.
        """
        kind = "moving averages" if self.is_averaged else "raw weights"
        checkpoint = os.path.basename(self.prefix)
        lines = [f"Teacher:     {self.spec.name}, {kind} of {self.given} ({checkpoint})"]
        if self.multiply_adds is not None and image_size == max(teaching.answering):
            its, ours = (self.multiply_adds(n, image_size) for n in (teaching.network, student))
            lines.append(
                f"             adds {its / (_STEP * ours):.0%} to the multiply-adds of a step: "
                f"{its / 1e6:,.1f} million an image to {_STEP} x {ours / 1e6:,.1f} million"
            )
        return lines

    def _plan(self, network: Network, num_classes: int, image_size: int) -> dict[str, str]:
        """Returns name of a variable -> name of a value, after a check of all shapes."""
        available: dict[str, Any] = {name: value.shape for name, value in self.values.items()}
        wanted: dict[str, Any] = {n: tuple(v.shape) for n, v in network.variables.items()}
        differing = [n for n in wanted if n in available and available[n] != wanted[n]]
        head = restore_plan.resized_head(wanted, available)
        if head:
            theirs = available[head[0]][-1] - int(network.background_class)
            raise DataError(
                f"{self.where}: the teacher has {theirs} classes, the student {num_classes}: "
                "give a teacher that was trained on the classes of the data"
            )
        if differing:
            name = differing[0]
            theirs, ours = (restore_plan.dimensions(s[name]) for s in (available, wanted))
            raise DataError(
                f"{self.where}: {name} is {theirs} in the checkpoint and {ours} in "
                f"{self.spec.name} for images of {image_size} px: give the --teacher that it is "
                "of, or the --image_size that it was trained at"
            )
        try:
            return restore_plan.restore_plan(wanted, available, hints=_HINTS)
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from error


def read(spec: NetworkSpec, prefix: str, given: str, **about: Any) -> Teacher:
    """Reads the weights of a teacher.

    Args:
        prefix: of its checkpoint.
        given, about: further attributes of Teacher.

    Raises:
        DataError: there is no such checkpoint, or it is damaged.
    """
    keys = tensor_roles.choose(store.shapes(prefix), None, prefix)
    is_averaged = any(tensor_roles.role(key, ()) == tensor_roles.AVERAGE for key in keys.values())
    values = store.read_variables(prefix, keys)
    return Teacher(spec, prefix, given, values, is_averaged, **about)
