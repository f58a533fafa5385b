"""The memory that one image takes in a training step, counted in a network's graph."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.graph_search import needed, num_elements
from models.network import Network

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
