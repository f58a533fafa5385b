"""The cost of one image, counted in a network's graph: multiply-adds, activations and memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from models.network import Network

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2")
# The outputs of these share the memory of their inputs.
ALIASES = ("ExpandDims", "Identity", "Reshape", "Squeeze", "StopGradient")
# These read only the shape of their inputs, whose values need not be kept.
SHAPE_READERS = ("OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike")


@dataclass(frozen=True)
class Cost:
    """The forward pass of one image, without auxiliary heads.

    Attributes:
        macs: multiplications of convolutions and dense layers, each with its addition.
        activations: elements of the outputs of convolutions (Radosavovic et al., 2020, section 3).
    """

    macs: int
    activations: int

    @property
    def published_madds(self) -> int:
        """Returns multiply-adds as EfficientNet-Lite's table counts them: 3 more an activation.

        These are batch norm and the activation function after a convolution.
        """
        return self.macs + 3 * self.activations


def num_parameters(network: Network) -> int:
    """Returns the number of trainable values; moving statistics do not count."""
    return sum(num_elements(network.variables[name]) for name in network.trainable)


def cost(network: Network, image_size: int) -> Cost:
    """Counts in a trace of the network's evaluation of one image; nothing is computed."""

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
            # A filter is [height, width, inputs, outputs]; a depthwise one does not sum its inputs.
            window = operation.inputs[1].shape[: 3 if operation.type == "Conv2D" else 2]
            macs += elements * math.prod(window)
            activations += elements
        elif operation.type in PRODUCTS:
            macs += num_elements(operation.outputs[0]) * operation.inputs[0].shape[-1]
    return Cost(macs, activations)


def _called(operation: Any) -> Any:
    """Returns the graph that an operation calls, as Keras' grouped convolution does; or None."""
    if "PartitionedCall" not in operation.type:
        return None
    # TensorFlow has no public function for it.
    return operation.graph._get_function(operation.get_attr("f").name).graph


def needed(outputs: list[tf.Tensor]) -> list[Any]:
    """Returns the operations that the outputs depend on, each once."""
    waiting = [output.op for output in outputs]
    found: dict[str, Any] = {}
    while waiting:
        operation: Any = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs]
    return list(found.values())


def num_elements(tensor: tf.Tensor | tf.Variable) -> int:
    """Returns the number of elements; raises ValueError where the shape is not known."""
    elements = tensor.shape.num_elements()
    if elements is None:
        raise ValueError(f"cannot count {tensor.name}: its shape {tensor.shape} is not known")
    return elements


def activation_bytes(network: Network, image_size: int) -> int:
    """Counts the bytes of one image's activations that are kept for the backward pass.

    It traces one training step, with auxiliary heads, without computing anything. A tensor counts
    if the forward pass makes it, the gradients need it, and it depends on the image or is random,
    such as a dropout mask. With `--recompute`, the largest part that is computed again comes on
    top. Weights, gradients and optimizer slots do not count, as they do not grow
    with the batch; nor do batch norm's statistics and temporary tensors of the backward pass.
    """
    kept = _kept(*_traced_step(network, image_size))
    size = sum(num_elements(tensor) * tensor.dtype.size for tensor in kept)
    return size + network.recomputed_bytes


def _traced_step(network: Network, image_size: int) -> tuple[tf.Tensor, set[str], list[tf.Tensor]]:
    """Returns the image, the names of the forward pass's operations, and the gradients."""
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
    per_image = _per_image(image)
    kept: dict[tuple[str, int], tf.Tensor] = {}
    for operation in needed(gradients):
        if operation.name in forward or operation.type in SHAPE_READERS:
            continue
        for tensor in operation.inputs:
            if tensor.op.name in forward and tensor.op.name in per_image:
                source = _source(tensor)
                if not _is_statistic(source):
                    kept[source.op.name, source.value_index] = source
    return list(kept.values())


def _per_image(image: tf.Tensor) -> set[str]:
    """Returns the names of operations whose outputs depend on the image or on random numbers."""
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
    """Returns the tensor whose memory this one shares."""
    while tensor.op.type in ALIASES:
        tensor = tensor.op.inputs[0]
    return tensor


def _is_statistic(tensor: Any) -> bool:
    """Returns whether it belongs to the batch: an output of batch norm other than the first."""
    return tensor.op.type.startswith("FusedBatchNorm") and tensor.value_index > 0
