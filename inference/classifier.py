"""A network with the weights of a checkpoint, ready to classify."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmark_cnn.params.params import PARAMETERS_FILE
from checkpoints import bundle, restore_plan, tensor_roles
from checkpoints.best import BEST_DIRECTORY
from common.errors import DataError
from models import registry
from models.network import Network
from models.pretrained import importing


class Classifier:
    """Probabilities of classes, by a registered network and a checkpoint.

    The number of classes is the checkpoint's, but for ImageNet's with a background class in a
    network without one, or the other way round: that is another network's checkpoint, unless
    parameters.json says that it is of a run: beside it, or beside `best/` where it lies in there.
    Attributes: `image_size` in pixels, `num_classes` without the background class.
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
          weights: "raw", "ema", or None for the moving averages where the checkpoint has any.

        Raises:
          DataError: no checkpoint, or another network's.
        """
        spec = registry.get(model)
        self.image_size = image_size or spec.image_size
        shapes = bundle.shapes(prefix)
        chosen = tensor_roles.choose(shapes, weights, Path(prefix))
        available = {name: shapes[key] for name, key in chosen.items()}
        network = spec.build(num_classes=1000, image_size=self.image_size)
        num_outputs = _num_outputs(network, available, os.fspath(prefix))
        if num_outputs is not None:
            num_classes = num_outputs - int(spec.background_class)
            network = spec.build(num_classes=num_classes, image_size=self.image_size)
        wanted = importing.variable_shapes(network)
        values = bundle.read(prefix, [chosen[name] for name in wanted if name in chosen])
        tensors = {name: values[chosen[name]] for name in wanted if name in chosen}
        importing.check(os.fspath(prefix), tensors, wanted)
        for name, variable in network.variables.items():
            variable.assign(tensors[name])
        self._network = network
        self._first_class = int(spec.background_class)
        self.num_classes = self.probabilities(
            np.zeros([1, self.image_size, self.image_size, 3], np.float32)
        ).shape[1]

    def probabilities(self, images: np.ndarray | tf.Tensor) -> np.ndarray:
        """float32 [B, num_classes] for images [B, S, S, 3], RGB in 0..255.

        A background class takes part in the softmax and is left out of the result.
        """
        logits = self._network(tf.convert_to_tensor(images), training=False).logits
        return tf.nn.softmax(logits).numpy()[:, self._first_class :]


def _num_outputs(
    network: Network, available: Mapping[str, Sequence[int]], prefix: str
) -> int | None:
    """The checkpoint's number of outputs if nothing but that differs; None to keep the network's.

    Raises:
      DataError: one of them has a background class, and the checkpoint is of no run.
    """
    wanted = importing.variable_shapes(network)
    differing = [
        (available[name], ours)
        for name, ours in wanted.items()
        if name in available and tuple(available[name]) != ours
    ]
    counts = restore_plan.class_counts(differing)
    if counts is None:
        return None
    if restore_plan.is_background_class(*counts) and not _is_of_a_run(prefix):
        raise DataError(f"{prefix}: {restore_plan.background_class_reason(*counts)}")
    return counts[0]


def _is_of_a_run(prefix: str) -> bool:
    directory = Path(prefix).absolute().parent
    if directory.name == BEST_DIRECTORY and (directory.parent / PARAMETERS_FILE).exists():
        return True
    return (directory / PARAMETERS_FILE).exists()
