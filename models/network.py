"""The interface of a network to the engine: named variables and a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from models.forward_pass import forward_pass

_KERAS_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
_SLIM_KERNELS = ("weights", "depthwise_weights", "pointwise_weights")


class ForwardResult(NamedTuple):
    """What one call returns.

    Attributes:
        logits: float32 [B, classes].
        aux_logits: float32 [B, classes], or None where the network has no auxiliary head.
        statistics: checkpoint name of each batch-norm moving statistic -> its float32 value after
            this batch. The network does not assign it; the caller averages over towers and assigns.
    """

    logits: tf.Tensor
    aux_logits: tf.Tensor | None
    statistics: dict[str, tf.Tensor]


@dataclass(frozen=True)
class Network:
    """A network and its variables by checkpoint name.

    Attributes:
        variables: trainable variables and moving statistics in the order of their creation.
        decayed: names of the variables that weight decay applies to.
        forward: called with (images, training); returns logits or a pair (logits, aux_logits).
        statistic_names: id of the object that batch norm reports to (see models/forward_pass.py)
            -> checkpoint name.
        background_class: whether class 0 is one that no label uses.
        keras_model: the Keras model of the network, for summary(), save() or fine-tuning; None for
            TF-Slim.
    """

    name: str
    variables: dict[str, tf.Variable]
    trainable: tuple[str, ...]
    decayed: frozenset[str]
    forward: Callable[[tf.Tensor, bool], Any]
    statistic_names: Mapping[int, str] = field(default_factory=dict)
    background_class: bool = False
    keras_model: Any = None

    @tf.autograph.experimental.do_not_convert
    def __call__(
        self, images: tf.Tensor, *, training: bool, seed: tf.Tensor | None = None
    ) -> ForwardResult:
        """Runs the network.

        Args:
            images: [B, H, W, 3], RGB, uint8 or float32 in 0..255.
            seed: int32 [2], different for each step, tower and micro-batch; the same seed gives the
                same masks. Only networks with random layers need it, in training.

        Raises:
            ValueError: a random layer was called in training without a seed.
        """
        with forward_pass(seed) as current:
            outputs = self.forward(images, training)
        has_two_heads = isinstance(outputs, (list, tuple))
        logits, aux_logits = outputs if has_two_heads else (outputs, None)
        statistics = {self.statistic_names[key]: value for key, value in current.statistics.items()}
        return ForwardResult(logits, aux_logits, statistics)


def make_network(variables: Mapping[str, keras.Variable | tf.Variable], **fields: Any) -> Network:
    """Makes a Network of its variables; `fields` are those that do not follow from them."""
    trainable = tuple(name for name, variable in variables.items() if variable.trainable)
    return Network(
        variables={
            name: variable.value if isinstance(variable, keras.Variable) else variable
            for name, variable in variables.items()
        },
        trainable=trainable,
        decayed=kernels(trainable),
        statistic_names={
            id(variable): name for name, variable in variables.items() if not variable.trainable
        },
        **fields,
    )


def kernels(trainable: Sequence[str]) -> frozenset[str]:
    """Returns the names of kernels: weight decay spares biases and batch norm by default."""
    endings = _KERAS_KERNELS + _SLIM_KERNELS
    return frozenset(name for name in trainable if name.rsplit("/", 1)[-1] in endings)


def keras_network(
    model: keras.Model, *, scope: str, name: str, background_class: bool = False
) -> Network:
    """Wraps a Keras model that is built.

    Keras allows no slash in a layer's name, so a dot stands for it: the kernel of the layer
    "blocks_0.conv2d" is "<scope>/blocks_0/conv2d/kernel" in a checkpoint.
    """
    variables = {
        f"{scope}/{layer.name.replace('.', '/')}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
    }
    if len(variables) != len(model.weights):
        raise ValueError(f"model {name!r} has variables that share a name")
    return make_network(
        variables,
        name=name,
        forward=lambda images, training: model(images, training=training),
        background_class=background_class,
        keras_model=model,
    )
