"""The operations of a graph that some of its tensors need."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


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
