"""A trained network as one TensorFlow function, of which every format is made.

Its graph holds inference only: no random layer, no gradient, and no batch norm behind a
convolution. It reads variables, as a converter is then given each weight once: with the weights in
its graph, TFLite's converter would hold 30 copies of them.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from inference.classifier import Classifier
from inference.signature import LOGITS, Signature

INPUT = "images"


@dataclass(frozen=True)
class Servable:
    """A network that can be written.

    Attributes:
        function: A concrete function from `images`, float32 [B, S, S, 3] in 0..255, RGB, to
            {`signature.output`: float32 [B, num_classes]}, without a background class.
        signature: What the exported file says about itself.
        batch_size: B; None for any.
    """

    function: Any
    signature: Signature
    batch_size: int | None

    def input_spec(self) -> tf.TensorSpec:
        """Returns the type of `images`."""
        return _input_spec(self.signature, self.batch_size)

    def module(self) -> Any:
        """Returns an object that owns the variables, as TensorFlow wants them to be owned."""
        module: Any = tf.Module()
        module.weights = list(self.function.variables)
        return module

    def with_constants(self) -> Any:
        """Returns `function` with the weights as constants of its graph."""
        function = convert_variables_to_constants_v2(self.function)
        gc.collect()  # the conversion leaves graphs that refer to each other, with all weights
        return function


def servable(
    classifier: Classifier, signature: Signature, batch_size: int | None = None
) -> Servable:
    """Returns the network of `classifier` as it is written.

    Args:
        signature: Its `output` says whether the function returns probabilities or logits.
        batch_size: None for any number of images.
    """
    first_class = int(classifier.network.background_class)

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        values = classifier.logits(images)
        if signature.output != LOGITS:
            values = tf.nn.softmax(values)
        return {signature.output: values[:, first_class:] if first_class else values}

    spec = _input_spec(signature, batch_size)
    function = tf.function(serve, autograph=False).get_concrete_function(spec)
    return Servable(function, signature, batch_size)


def _input_spec(signature: Signature, batch_size: int | None) -> tf.TensorSpec:
    size = signature.image_size
    return tf.TensorSpec([batch_size, size, size, 3], tf.float32, name=INPUT)
