"""What one image costs: multiply-adds and activations, counted in a network's graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from models.graph_search import needed, num_elements
from models.network import Network

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2")


@dataclass(frozen=True)
class Cost:
    """The forward pass of one image, without auxiliary heads.

    macs: multiplications of convolutions and dense layers, each with its addition.
    activations: elements that convolutions put out (Radosavovic et al., 2020, section 3).
    """

    macs: int
    activations: int

    @property
    def published_madds(self) -> int:
        """As the table of EfficientNet-Lite counts: three more for each of the activations.

        These are batch norm and the activation function behind a convolution.
        """
        return self.macs + 3 * self.activations


def num_parameters(network: Network) -> int:
    """Trainable values; the moving statistics of batch norm are none."""
    return sum(num_elements(network.variables[name]) for name in network.trainable)


def cost(network: Network, image_size: int) -> Cost:
    """Traces the network in evaluation for one image and counts; nothing is computed."""

    def logits(images: tf.Tensor) -> tf.Tensor:
        return network(images, training=False).logits

    images = tf.TensorSpec([1, image_size, image_size, 3], tf.uint8)
    function: Any = tf.function(logits, autograph=False).get_concrete_function(images)
    return _cost(function.graph.outputs)


def _cost(outputs: list[tf.Tensor]) -> Cost:
    macs = activations = 0
    for operation in needed(outputs):
        called = _called(operation)
        if called is not None:
            inner = _cost(called.outputs)
            macs += inner.macs
            activations += inner.activations
        elif operation.type in CONVOLUTIONS:
            elements = num_elements(operation.outputs[0])
            # A filter is [height, width, inputs of an output, outputs]; depthwise: no such sum.
            window = operation.inputs[1].shape[: 3 if operation.type == "Conv2D" else 2]
            macs += elements * math.prod(window)
            activations += elements
        elif operation.type in PRODUCTS:
            macs += num_elements(operation.outputs[0]) * operation.inputs[0].shape[-1]
    return Cost(macs, activations)


def _called(operation: Any) -> Any:
    """The graph of the function that an operation calls, such as Keras' grouped convolution."""
    if "PartitionedCall" not in operation.type:
        return None
    # TensorFlow has no public way from a call to the graph that it calls.
    return operation.graph._get_function(operation.get_attr("f").name).graph
