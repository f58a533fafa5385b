"""A trained network as one TensorFlow function whose weights are constants.

Every format is made from this function. Its graph holds inference only: no variable, no random
layer, no gradient. Converters then fold batch norm into the convolutions.
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
class Frozen:
    """A network whose weights are constants.

    Attributes:
        function: From `images`, float32 [B, S, S, 3] in 0..255, RGB, to a list of one tensor,
            float32 [B, num_classes]: `signature.output` of each class, without a background class.
        signature: What the exported file says about itself.
        batch_size: B; None for any.
    """

    function: Any
    signature: Signature
    batch_size: int | None

    def input_spec(self) -> tf.TensorSpec:
        """Returns the type of `images`."""
        size = self.signature.image_size
        return tf.TensorSpec([self.batch_size, size, size, 3], tf.float32, name=INPUT)

    def serving(self) -> Any:
        """Returns a concrete function from `images` to {`signature.output`: the result}."""

        def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return {self.signature.output: self.function(images)[0]}

        return tf.function(serve, autograph=False).get_concrete_function(self.input_spec())


def freeze(classifier: Classifier, signature: Signature, batch_size: int | None = None) -> Frozen:
    """Returns the network of `classifier` with its weights as constants.

    Args:
        signature: Its `output` says whether the function returns probabilities or logits.
        batch_size: None for any number of images.
    """
    network = classifier.network
    first_class = int(network.background_class)

    def outputs(images: tf.Tensor) -> tf.Tensor:
        values = network(images, training=False).logits
        if signature.output != LOGITS:
            values = tf.nn.softmax(values)
        return values[:, first_class:] if first_class else values

    spec = Frozen(None, signature, batch_size).input_spec()
    function: Any = tf.function(outputs, autograph=False).get_concrete_function(spec)
    frozen = Frozen(convert_variables_to_constants_v2(function), signature, batch_size)
    gc.collect()  # the conversion leaves graphs that refer to each other, with all weights
    return frozen
