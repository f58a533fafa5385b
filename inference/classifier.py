"""A network with the weights of a checkpoint, ready to classify."""

from __future__ import annotations

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
    differs, the checkpoint is refused as another network's, unless the parameters.json of a run is
    next to it (or next to `best/` around it).

    Attributes:
        image_size: In pixels.
        network: With the weights; its logits include a background class.
        num_classes: Without the background class.
        weights: "ema" if moving averages were read, else "raw".
    """

    def __init__(
        self,
        model: str,
        prefix: str | os.PathLike[str],
        *,
        image_size: int | None = None,
        weights: str | None = None,
    ):
        """Builds the network and reads its weights.

        Args:
            model: A name in models.registry.
            prefix: The checkpoint.
            image_size: In pixels; None for that of the model.
            weights: "raw", "ema", or None for the moving averages if the checkpoint has any.

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
        network = spec.build(num_classes=1000, image_size=self.image_size)
        num_outputs = _num_outputs(network, available, prefix)
        if num_outputs is not None:
            num_classes = num_outputs - self._first_class
            network = spec.build(num_classes=num_classes, image_size=self.image_size)
        wanted = importing.variable_shapes(network)
        plan = {name: keys[name] for name in wanted if name in keys}
        tensors = store.read_variables(prefix, plan)
        importing.check(os.fspath(prefix), tensors, wanted)
        for name, variable in network.variables.items():
            variable.assign(tensors[name])
        self.network = network
        # One graph computes 1.7 times as many images a second as layer after layer in Python.
        self._softmax = tf.function(
            lambda images: tf.nn.softmax(network(images, training=False).logits),
            input_signature=[tf.TensorSpec([None, self.image_size, self.image_size, 3])],
            autograph=False,
        )
        self.num_classes = self.probabilities(
            np.zeros([1, self.image_size, self.image_size, 3], np.float32)
        ).shape[1]

    def probabilities(self, images: np.ndarray | tf.Tensor) -> np.ndarray:
        """Returns float32 [B, num_classes] for images [B, S, S, 3], RGB in 0..255.

        A background class takes part in the softmax and is left out of the result.
        """
        pixels = tf.cast(tf.convert_to_tensor(images), tf.float32)
        return self._softmax(pixels).numpy()[:, self._first_class :]


def _num_outputs(
    network: Network, available: Mapping[str, Sequence[int]], prefix: Path
) -> int | None:
    """Returns the checkpoint's number of outputs if only that differs; else None.

    Raises:
        DataError: One of them has a background class, and the checkpoint is not of a run.
    """
    differing = [
        (available[name], ours)
        for name, ours in importing.variable_shapes(network).items()
        if name in available and tuple(available[name]) != ours
    ]
    counts = restore_plan.class_counts(differing)
    if counts is None:
        return None
    problem = restore_plan.background_class_problem(*counts)
    if problem and not _belongs_to_a_run(prefix):
        raise DataError(f"{prefix}: {problem}")
    return counts[0]


def _belongs_to_a_run(prefix: Path) -> bool:
    directory = prefix.absolute().parent
    if directory.name == BEST_DIRECTORY and (directory.parent / PARAMETERS_FILE).exists():
        return True
    return (directory / PARAMETERS_FILE).exists()
