"""A network that was written with slim layers as a Network.

Slim layers ask TF1's get_variable for their variables: models/slim/kept_variables.py answers. They
also put tensors into collections of the graph, which are cleared after each call, and their
variable scopes count how often a default name was used, which closing the network's scope resets.
With batch norm and dropout of our own, TF-Slim 1.1 runs on TensorFlow 2.21 as it is: the name
`tensorflow.python.framework.ops.Tensor`, which is gone, is needed by neither of its other layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from models.forward_pass import forward_pass
from models.imagenet_pixels import CENTERING_MEAN
from models.network import Network
from models.slim.kept_variables import KeptVariables

DECAYED_NAMES = ("weights", "depthwise_weights", "pointwise_weights")


@dataclass(frozen=True)
class PixelRange:
    """How pixels in 0..255 become the network's inputs: (pixels - mean) / std."""

    mean: float | tuple[float, float, float]
    std: float


PLUS_MINUS_ONE = PixelRange(mean=127.5, std=127.5)
CENTERED = PixelRange(mean=CENTERING_MEAN, std=1.0)


def slim_network(
    function: Callable[[tf.Tensor, bool], Any],
    *,
    name: str,
    image_size: int,
    dtype: str,
    pixel_range: PixelRange,
    background_class: bool,
) -> Network:
    """Creates the variables of `function` and wraps it; call it inside `strategy.scope()`.

    `function(images, is_training)` takes images [B, H, W, 3] in `dtype` and returns logits or a
    pair (logits, auxiliary logits), computed in float32, [B, classes] or [B, h, w, classes]; the
    latter are averaged over h and w, as fully convolutional networks are evaluated (Simonyan and
    Zisserman, 2014).
    """
    kept = KeptVariables()

    def forward(images: tf.Tensor, training: bool) -> Any:
        inputs = _inputs(images, pixel_range, dtype)
        graph: Any = tf.compat.v1.get_default_graph()
        collections = set(graph.collections)
        with tf.compat.v1.variable_scope("", custom_getter=kept.getter):
            outputs = function(inputs, training)
        for collection in set(graph.collections) - collections:
            graph.clear_collection(collection)
        if isinstance(outputs, tuple):
            return tuple(_logits(output) for output in outputs)
        return _logits(outputs)

    _trace(forward, image_size)
    kept.complete()
    variables = kept.by_name
    trainable = tuple(key for key, variable in variables.items() if variable.trainable)
    return Network(
        name=name,
        variables=variables,
        trainable=trainable,
        decayed=decayed(trainable),
        forward=forward,
        statistic_names={
            id(variable): key for key, variable in variables.items() if not variable.trainable
        },
        background_class=background_class,
    )


def decayed(trainable: Sequence[str]) -> frozenset[str]:
    """The variables that decay by default: kernels by slim's names, never biases or batch norm."""
    return frozenset(name for name in trainable if name.rsplit("/", 1)[-1] in DECAYED_NAMES)


def _trace(forward: Callable[[tf.Tensor, bool], Any], image_size: int) -> None:
    """Runs `forward` without computing anything, so that it asks for its variables."""

    def traced(images: tf.Tensor) -> None:
        with forward_pass(tf.zeros([2], tf.int32)):
            forward(images, True)

    images = tf.TensorSpec([1, image_size, image_size, 3], tf.uint8)
    tf.function(traced, autograph=False).get_concrete_function(images)


def _inputs(images: tf.Tensor, pixel_range: PixelRange, dtype: str) -> tf.Tensor:
    pixels = tf.cast(images, tf.float32)
    return tf.cast((pixels - tf.constant(pixel_range.mean)) / pixel_range.std, dtype)


def _logits(outputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(outputs, [1, 2]) if len(outputs.shape) == 4 else outputs
