"""What one image costs: multiply-adds and activations, counted in a network's graph.

The operations of a graph that some of its tensors need.

The memory that one image takes in a training step, counted in a network's graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

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


def needed(outputs: list[tf.Tensor]) -> list[Any]:
    """The operations that the outputs depend on, each once."""
    waiting = [output.op for output in outputs]
    found: dict[str, Any] = {}
    while waiting:
        operation: Any = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs]
    return list(found.values())


def num_elements(tensor: tf.Tensor | tf.Variable) -> int:
    """Raises ValueError where the graph does not know the tensor's shape."""
    elements = tensor.shape.num_elements()
    if elements is None:
        raise ValueError(f"cannot count {tensor.name}: its shape {tensor.shape} is not known")
    return elements


# These hand on what they are given, under another name or shape: it is in memory once.
ALIASES = ("ExpandDims", "Identity", "Reshape", "Squeeze", "StopGradient")
# These look at a shape only, and what it is of need not be kept.
OF_SHAPES = ("OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike")


def activation_bytes(network: Network, image_size: int) -> int:
    """Bytes of one image's activations that the forward pass keeps for the backward pass.

    One step, with auxiliary heads, is traced and nothing is computed. Counted is every tensor that
    depends on the image or is random, as a mask of dropout is, is made by the forward pass and read
    by an operation of the backward pass that the gradients need; not the statistics of batch norm.
    Weights, gradients and the optimizer's slots do not grow with the batch and are not in it, nor
    is what the backward pass needs for a moment only.
    """
    kept = _kept(*_traced_step(network, image_size))
    return sum(num_elements(tensor) * tensor.dtype.size for tensor in kept)


def _traced_step(network: Network, image_size: int) -> tuple[tf.Tensor, set[str], list[tf.Tensor]]:
    """The image, the names of the operations of the forward pass, and the gradients."""
    variables = [network.variables[name] for name in network.trainable]
    forward: set[str] = set()

    def step(images: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            result = network(images, training=True, seed=tf.constant([1, 2]))
            heads = [head for head in (result.logits, result.aux_logits) if head is not None]
            labels = tf.zeros([1], tf.int32)
            cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
            loss = tf.add_n([tf.reduce_sum(cross_entropy(labels, head)) for head in heads])
        graph: Any = loss.graph
        forward.update(operation.name for operation in graph.get_operations())
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables) if g is not None]

    images = tf.TensorSpec([1, image_size, image_size, 3], tf.uint8)
    function: Any = tf.function(step, autograph=False).get_concrete_function(images)
    return function.inputs[0], forward, function.outputs


def _kept(image: tf.Tensor, forward: set[str], gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    of_the_image = _names_of_the_image(image)
    kept: dict[tuple[str, int], tf.Tensor] = {}
    for operation in needed(gradients):
        if operation.name in forward or operation.type in OF_SHAPES:
            continue
        for tensor in operation.inputs:
            if tensor.op.name in forward and tensor.op.name in of_the_image:
                source = _source(tensor)
                if not _is_statistic(source):
                    kept[source.op.name, source.value_index] = source
    return list(kept.values())


def _names_of_the_image(image: tf.Tensor) -> set[str]:
    """The operations whose outputs belong to an image: made from it, or from random numbers."""
    graph: Any = image.graph
    waiting = [*image.consumers()]
    waiting += [op for op in graph.get_operations() if op.type.startswith("StatelessRandom")]
    found: set[str] = set()
    while waiting:
        operation: Any = waiting.pop()
        if operation.name not in found:
            found.add(operation.name)
            waiting += [user for tensor in operation.outputs for user in tensor.consumers()]
    return found


def _source(tensor: Any) -> Any:
    """The tensor whose memory this one shares."""
    while tensor.op.type in ALIASES:
        tensor = tensor.op.inputs[0]
    return tensor


def _is_statistic(tensor: Any) -> bool:
    """Whether it is of the batch and not of an image: all but the first output of batch norm."""
    return tensor.op.type.startswith("FusedBatchNorm") and tensor.value_index > 0
