"""`--recompute`: the backward pass computes activations again that it would otherwise keep.

The network is divided into parts (Chen et al., 2016, arXiv:1604.06174). Only what one part hands to
later ones is kept; the backward pass runs the forward pass of each part once more, from the last
part to the first. Each part takes its seeds from the same forward pass, so that masks are the same,
and only its first run reports statistics: the results are those of a step that keeps everything.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.forward_pass import ForwardPass, current, forward_pass

_LIMITS = 40  # of the memory of a part that are tried


@dataclasses.dataclass(frozen=True)
class Part:
    """Consecutive operations of a Keras model, in an order in which they can run.

    Attributes:
        nodes: Keras' nodes, one for each call of an operation.
        inputs, outputs: ids of the Keras tensors that come from earlier parts, and that later ones
            or the caller read.
        weights: the trainable variables.
    """

    nodes: Sequence[Any]
    inputs: Sequence[int]
    outputs: Sequence[int]
    weights: Sequence[keras.Variable]

    def run(self, inputs: Sequence[tf.Tensor], training: bool) -> list[tf.Tensor]:
        """Computes the outputs from the inputs."""
        tensors: dict[int, Any] = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            arguments, options = node.arguments.fill_in(tensors)
            if getattr(node.operation, "_call_has_training_arg", False):
                options["training"] = training
            results = keras.tree.flatten(node.operation(*arguments, **options))
            tensors |= zip(map(id, node.outputs), results, strict=True)
        return [tensors[key] for key in self.outputs]

    def run_again(self, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Computes the outputs in training; a backward pass repeats it, in the same forward pass.

        Called in a graph: the order of a backward pass is decided by what depends on what.
        """
        weights = [tf.convert_to_tensor(weight) for weight in self.weights]
        outer = current()

        @tf.custom_gradient
        def run(*tensors: tf.Tensor) -> tuple[list[tf.Tensor], Callable]:
            def backward(*upstream: tf.Tensor) -> list[tf.Tensor]:
                again = [*_after(upstream, tensors[: len(inputs)]), *tensors[len(inputs) :]]
                with tf.GradientTape(watch_accessed_variables=False) as tape, _same(outer):
                    tape.watch(again)
                    outputs = self._run_with(again)
                gradients: Any = tape.gradient(
                    outputs,
                    again,
                    list(upstream),
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                # What weights gain is computed before earlier parts run again. Otherwise it waits,
                # with the activations that it needs, while other parts fill the memory.
                with tf.control_dependencies(gradients[len(inputs) :]):
                    return [*map(tf.identity, gradients[: len(inputs)]), *gradients[len(inputs) :]]

            return self._run_with(tensors), backward

        outputs: Any = run(*inputs, *weights)
        return list(outputs)

    def _run_with(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Computes the outputs from inputs and values of the weights."""
        weights = tensors[len(self.inputs) :]
        values = zip(self.weights, weights, strict=True)
        with keras.StatelessScope(values, initialize_variables=False):
            return self.run(tensors[: len(self.inputs)], training=True)


def _after(upstream: Sequence[tf.Tensor], inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the inputs, which exist only when the gradients of the outputs do.

    A control dependency would not do: XLA drops it, and TensorFlow's graph optimizer may merge what
    is computed twice from the same tensors. Whether a gradient is NaN is not known in advance.
    """
    first = [tf.cast(tf.reshape(gradient, [-1])[:1], tf.float32) for gradient in upstream]
    total = tf.reduce_sum(tf.concat(first, 0))
    nothing = tf.where(tf.math.is_nan(total), total, 0.0)
    return [tensor + tf.cast(nothing, tensor.dtype) for tensor in inputs]


def _same(outer: ForwardPass | None) -> Any:
    """Returns a forward pass with the seed of another one; what it reports is forgotten."""
    if outer is None:
        return forward_pass(None)
    return forward_pass(outer.seed, outer.frozen)


def divided(model: keras.Model, plain: Callable[[tf.Tensor, bool], Any]) -> tuple[Callable, int]:
    """Divides a model into parts.

    Args:
        plain: the model's forward pass, from images and whether it trains.

    Returns:
        The forward pass that recomputes in training, and the bytes an image of what the largest
        part computes.
    """
    parts, largest = _divide(model)

    def forward(images: tf.Tensor, training: bool) -> Any:
        if not training:
            return plain(images, training)
        tensors: dict[int, tf.Tensor] = {id(model.inputs[0]): images}
        # The first part only normalizes pixels, and the last one is the first of the backward pass.
        for number, part in enumerate(parts):
            inputs = [tensors[key] for key in part.inputs]
            is_kept = number in (0, len(parts) - 1)
            outputs = part.run(inputs, True) if is_kept else part.run_again(inputs)
            tensors |= zip(part.outputs, outputs, strict=True)
        logits = [tensors[id(output)] for output in model.outputs]
        return logits if len(logits) > 1 else logits[0]

    return forward, largest


def _divide(model: keras.Model) -> tuple[list[Part], int]:
    """Returns the parts of a model, and the bytes an image of what the largest of them computes.

    Of all divisions it is the one that needs the least memory: that of the outputs of all parts,
    and of everything in the largest one.
    """
    nodes = [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    ]
    last_use = dict.fromkeys(map(id, model.outputs), len(nodes))
    for place, node in enumerate(nodes):
        for tensor in node.input_tensors:
            last_use[id(tensor)] = max(last_use.get(id(tensor), 0), place)
    # What comes before the first weight needs no backward pass.
    first = next(place for place, node in enumerate(nodes) if _weights(node.operation))
    borders, largest = _borders(nodes[first:], {k: v - first for k, v in last_use.items()})
    borders = [0, *(first + border for border in borders)]
    parts = []
    for begin, end in itertools.pairwise(borders):
        inside = nodes[begin:end]
        own = dict.fromkeys(id(t) for node in inside for t in node.outputs)
        read = dict.fromkeys(id(t) for node in inside for t in node.input_tensors)
        weights = {id(weight): weight for node in inside for weight in _weights(node.operation)}
        inputs = [key for key in read if key not in own]
        outputs = [key for key in own if last_use.get(key, -1) >= end]
        parts.append(Part(inside, inputs, outputs, list(weights.values())))
    return parts, largest


def _borders(nodes: Sequence[Any], last_use: Mapping[int, int]) -> tuple[list[int], int]:
    """Returns where parts begin, from 0, and end, and the bytes of the largest part.

    Dynamic programming, for each of several limits on the bytes that a part computes: the least
    bytes that all parts together hand on.

    Args:
        last_use: id of a tensor -> place of the last node that reads it.
    """
    count = len(nodes)
    computed = np.array([sum(map(_num_bytes, node.outputs)) for node in nodes], np.float64)
    until = np.concatenate([[0.0], np.cumsum(computed)])
    handed = np.zeros([count + 1, count + 1])  # by the part that begins at i and ends before j
    for place, node in enumerate(nodes):
        for tensor in node.outputs:
            end = last_use.get(id(tensor), place)
            handed[: place + 1, place + 1 : end + 1] += _num_bytes(tensor)
    best, least = ([0, count], int(until[-1])), math.inf
    for limit in np.geomspace(computed.max(), until[-1], _LIMITS):
        cost, came = np.zeros(count + 1), np.zeros(count + 1, np.int64)
        for end in range(1, count + 1):
            fits = until[end] - until[:end] <= limit
            costs = np.where(fits, cost[:end] + handed[:end, end], math.inf)
            came[end] = np.argmin(costs)
            cost[end] = costs[came[end]]
        borders = [count]
        while borders[-1]:
            borders.append(int(came[borders[-1]]))
        borders.reverse()
        largest = float(np.diff(until[borders]).max())
        if cost[count] + largest < least:
            best, least = (borders, int(largest)), cost[count] + largest
    return best


def _num_bytes(tensor: Any) -> int:
    """Returns the bytes of a Keras tensor of one image."""
    return math.prod(tensor.shape[1:]) * tf.as_dtype(tensor.dtype).size


def _weights(operation: Any) -> list[keras.Variable]:
    return list(getattr(operation, "trainable_weights", ()))
