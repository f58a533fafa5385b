"""What a network is to the engine: named variables and a call, whatever it was written with.

A keras.Model as a Network: names its variables after its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from models.forward_pass import forward_pass

KERNEL_NAMES = ("kernel", "depthwise_kernel", "pointwise_kernel")


class ForwardResult(NamedTuple):
    """What one call returns.

    logits and aux_logits are float32 [B, classes], aux_logits None where the network has no such
    head. statistics maps the checkpoint name of each batch-norm moving statistic to the float32
    value it would take after this batch. The network does not assign them; the caller averages and
    assigns.
    """

    logits: tf.Tensor
    aux_logits: tf.Tensor | None
    statistics: dict[str, tf.Tensor]


@dataclass(frozen=True)
class Network:
    """A network with its variables by checkpoint name.

    `variables` holds trainable variables and moving statistics in the order of their creation.
    `forward(images, training)` returns the logits, or a list (logits, aux_logits).
    `statistic_names` maps the identity of what batch norm reports to (see models/forward_pass.py)
    to its checkpoint name. `keras_model` is the model behind it where it was written in Keras, for
    summary(), save() or fine-tuning.
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
        """Runs the network on images [B, H, W, 3], RGB, uint8 or float32 in 0..255.

        `seed` is int32 [2] and differs per step, tower and micro-batch; only random layers in
        training need it (ValueError without). The same seed gives the same masks.
        """
        with forward_pass(seed) as current:
            outputs = self.forward(images, training)
        logits, aux_logits = _split_heads(outputs)
        statistics = {self.statistic_names[key]: value for key, value in current.statistics.items()}
        return ForwardResult(logits, aux_logits, statistics)


def _split_heads(outputs: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    if not isinstance(outputs, (list, tuple)):
        return outputs, None
    logits, aux_logits = outputs
    return logits, aux_logits


def kernels(trainable: Sequence[str]) -> frozenset[str]:
    """The variables that decay by default: kernels, never batch norm, never a bias."""
    return frozenset(name for name in trainable if name.rsplit("/", 1)[-1] in KERNEL_NAMES)


def keras_network(
    model: keras.Model, *, scope: str, name: str, background_class: bool = False
) -> Network:
    """Wraps a built model.

    Keras allows no slash in a layer's name, so a dot stands for it: the kernel of layer
    "blocks_0.conv2d" is "<scope>/blocks_0/conv2d/kernel" in a checkpoint.
    """
    named = {
        f"{scope}/{layer.name.replace('.', '/')}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
    }
    if len(named) != len(model.weights):
        raise ValueError(f"model {name!r} has variables that share a name")
    trainable = tuple(key for key, variable in named.items() if variable.trainable)
    return Network(
        name=name,
        variables={key: variable.value for key, variable in named.items()},
        trainable=trainable,
        decayed=kernels(trainable),
        forward=lambda images, training: model(images, training=training),
        statistic_names={
            id(variable): key for key, variable in named.items() if not variable.trainable
        },
        background_class=background_class,
        keras_model=model,
    )
