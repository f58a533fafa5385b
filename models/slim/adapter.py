"""A network that was written with slim layers as a Network.

Slim layers ask TF1's get_variable for their variables: models/slim/adapter.py answers. They
also put tensors into collections of the graph, which are cleared after each call, and their
variable scopes count how often a default name was used, which closing the network's scope resets.
With batch norm and dropout of our own, TF-Slim 1.1 runs on TensorFlow 2.21 as it is: the name
`tensorflow.python.framework.ops.Tensor`, which is gone, is needed by neither of its other layers.

Variables for code that asks TF1's get_variable for them, in a program without sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from models.forward_pass import forward_pass
from models.layers.pixel_normalization import IMAGENET_CENTER
from models.network import Network

DECAYED_NAMES = ("weights", "depthwise_weights", "pointwise_weights")


@dataclass(frozen=True)
class PixelRange:
    """How pixels in 0..255 become the network's inputs: (pixels - mean) / std."""

    mean: float | tuple[float, float, float]
    std: float


PLUS_MINUS_ONE = PixelRange(mean=127.5, std=127.5)
CENTERED = PixelRange(mean=IMAGENET_CENTER, std=1.0)


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


class KeptVariables:
    """Creates every variable once and hands it back at each later trace, by its scoped name.

    Initial values, names and shapes are those that the slim layers ask for; their regularizers do
    not get here. Variables are float32: a layer that computes in another dtype gets them cast.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, tf.Variable] = {}
        self._strategy = tf.distribute.get_strategy()
        self._is_complete = False

    def complete(self) -> None:
        """From now on a name that is not there is an error, not a new variable."""
        self._is_complete = True

    def getter(
        self,
        getter: Any,
        name: str,
        *,
        shape: Any,
        dtype: Any = tf.float32,
        initializer: Any = None,
        trainable: bool = True,
        **_unused: Any,
    ) -> Any:
        """A custom_getter for `tf.compat.v1.variable_scope`; KeyError for an unknown name.

        `getter`, TF1's own, is not called: it would keep variables in the graph.
        """
        if name not in self.by_name:
            if self._is_complete:
                raise KeyError(f"the network was built without a variable {name!r}")
            self.by_name[name] = self._create(name, shape, initializer, trainable)
        variable = self.by_name[name]
        return variable if dtype == variable.dtype else tf.cast(variable, dtype)

    def _create(self, name: str, shape: Any, initializer: Any, trainable: bool) -> tf.Variable:
        shape = tf.TensorShape(shape).as_list()
        # Out of the graph that is being traced; that leaves the scope of the strategy as well.
        with tf.init_scope(), self._strategy.scope():
            return tf.Variable(
                lambda: initializer(shape, dtype=tf.float32), trainable=trainable, name=name
            )
