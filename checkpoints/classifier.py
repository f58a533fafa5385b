"""A network with the weights of a checkpoint, ready to classify."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from checkpoints import bundle, completeness, tensor_roles
from checkpoints.errors import WeightsError
from models import registry
from models.network import Network


class Classifier:
    """Probabilities of classes, by a registered network and a checkpoint.

    The number of classes is the checkpoint's. Attributes: `image_size` in pixels, `num_classes`
    without the background class.
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
          WeightsError: no checkpoint, or another network's.
        """
        spec = registry.get(model)
        self.image_size = image_size or spec.image_size
        shapes = bundle.shapes(prefix)
        try:
            chosen = tensor_roles.choose(shapes, weights)
        except WeightsError as error:
            raise WeightsError(f"{os.fspath(prefix)}: {error}") from error
        network = spec.build(num_classes=1000, image_size=self.image_size)
        num_outputs = _num_outputs(network, {name: shapes[key] for name, key in chosen.items()})
        if num_outputs is not None:
            num_classes = num_outputs - int(spec.background_class)
            network = spec.build(num_classes=num_classes, image_size=self.image_size)
        wanted = completeness.variable_shapes(network)
        values = bundle.read(prefix, [chosen[name] for name in wanted if name in chosen])
        tensors = {name: values[chosen[name]] for name in wanted if name in chosen}
        completeness.check(os.fspath(prefix), tensors, wanted)
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


def _num_outputs(network: Network, shapes: Mapping[str, Sequence[int]]) -> int | None:
    """The checkpoint's number of classes if nothing but that differs; None to keep the network's.

    Another number of classes changes the last axis of the last layer alone.
    """
    changes = {
        (tuple(theirs[:-1]) == ours[:-1], theirs[-1], ours[-1])
        for name, ours in completeness.variable_shapes(network).items()
        if (theirs := shapes.get(name)) and ours and ours != tuple(theirs)
    }
    if len(changes) == 1:
        same_otherwise, theirs, _ = changes.pop()
        if same_otherwise:
            return theirs
    return None
