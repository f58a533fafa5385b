"""A network with the weights of a checkpoint, ready to classify."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmark_cnn.params.params import PARAMETERS_FILE
from checkpoints import bundle, restore_plan, store, tensor_roles
from checkpoints.best import BEST_DIRECTORY
from common.errors import DataError
from models import registry
from models.network import Network
from models.pretrained import importing


class Classifier:
    """Computes probabilities of classes, with a registered network and a checkpoint.

    The number of classes is that of the checkpoint. If ImageNet's background class is all that
    differs, the checkpoint is refused as another network's, unless `num_classes` is given or the
    parameters.json of a run is next to it (or next to `best/` around it).

    Attributes:
        image_size: In pixels.
        network: With the weights; its logits include a background class.
        num_classes: Without the background class.
        weights: "ema" if moving averages were read, else "raw".
        rounds: Whether it rounds to 8 bits, because it was trained so (--quantization_aware).
    """

    def __init__(
        self,
        model: str,
        prefix: str | os.PathLike[str],
        *,
        image_size: int | None = None,
        weights: str | None = None,
        num_classes: int | None = None,
        independent: bool = False,
    ):
        """Builds the network and reads its weights.

        Args:
            model: A name in models.registry.
            prefix: The checkpoint.
            image_size: In pixels; None for that of the model.
            weights: "raw", "ema", or None for the moving averages if the checkpoint has any.
            num_classes: The number that the checkpoint must have; None for any.
            independent: Whether a probability is the sigmoid of its logit, not the softmax.

        Raises:
            DataError: There is no checkpoint, or it is another network's.
        """
        prefix, spec = Path(prefix), registry.get(model)
        self.image_size = image_size or spec.image_size
        self._first_class = int(spec.background_class)
        shapes = bundle.shapes(prefix)
        keys = tensor_roles.choose(shapes, weights, prefix)
        has_averages = any(key.endswith(tensor_roles.MOVING_AVERAGE) for key in keys.values())
        self.weights = "ema" if has_averages else "raw"
        available = {name: shapes[key] for name, key in keys.items()}
        self.rounds = any(name.endswith(tensor_roles.RANGE) for name in available)
        network = spec.build(num_classes=1000, image_size=self.image_size)
        counts = _output_counts(network, available)
        if counts is not None:
            found = counts[0] - self._first_class
            problem = restore_plan.background_class_problem(*counts)
            if problem and num_classes is None and not _belongs_to_a_run(prefix):
                raise DataError(
                    f"{prefix}: {problem}, or, if it has {found} classes, --num_classes={found}"
                )
            network = spec.build(num_classes=found, image_size=self.image_size)
        network = network.quantization_aware() if self.rounds else network
        wanted = importing.variable_shapes(network)
        plan = {name: keys[name] for name in wanted if name in keys}
        tensors = store.read_variables(prefix, plan)
        importing.check(os.fspath(prefix), tensors, wanted)
        for name, variable in network.variables.items():
            variable.assign(tensors[name])
        self._activation = tf.nn.sigmoid if independent else tf.nn.softmax
        self._take_network(network)
        self.num_classes = self.probabilities(
            np.zeros([1, self.image_size, self.image_size, 3], np.float32)
        ).shape[1]
        if num_classes not in (None, self.num_classes):
            raise DataError(
                f"{prefix} has {self.num_classes} classes, --num_classes={num_classes}: "
                "give its number, or leave the flag out"
            )

    @functools.cached_property
    def in_float(self) -> Classifier:
        """The classifier with the same weights that does not round; it has no checks of its own."""
        network = self.network.float_network
        if network is None:
            return self
        other = copy.copy(self)
        other.rounds = False
        other._take_network(network)
        return other

    def _take_network(self, network: Network) -> None:
        self.network = network
        self._folded = network.for_inference()
        self.take_weights()
        # One graph computes 1.7 times as many images a second as layer after layer in Python.
        self._probabilities = tf.function(
            lambda images: self._activation(self.logits(images)),
            input_signature=[tf.TensorSpec([None, self.image_size, self.image_size, 3])],
            autograph=False,
        )

    def take_weights(self) -> None:
        """Takes over values that were assigned to the variables of `network`."""
        self._folded.update()

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Returns float32 [B, outputs], a background class included; see `probabilities`.

        Batch norm is part of the convolutions, whose variables are not those of `network`.
        """
        return self._folded(images)

    def probabilities(self, images: np.ndarray | tf.Tensor) -> np.ndarray:
        """Returns float32 [B, num_classes] for images [B, S, S, 3], RGB in 0..255.

        A background class takes part in the softmax and is left out of the result.
        """
        pixels = tf.cast(tf.convert_to_tensor(images), tf.float32)
        return self._probabilities(pixels).numpy()[:, self._first_class :]


def _output_counts(
    network: Network, available: Mapping[str, Sequence[int]]
) -> tuple[int, int] | None:
    """Returns the checkpoint's and the network's numbers of outputs if only these differ."""
    differing = [
        (available[name], ours)
        for name, ours in importing.variable_shapes(network).items()
        if name in available and tuple(available[name]) != ours
    ]
    return restore_plan.class_counts(differing)


def _belongs_to_a_run(prefix: Path) -> bool:
    directory = prefix.absolute().parent
    if directory.name == BEST_DIRECTORY and (directory.parent / PARAMETERS_FILE).exists():
        return True
    return (directory / PARAMETERS_FILE).exists()
