"""What the kernels of GPUs would do with a graph, of which TensorFlow's registry knows all.

TensorFlow registers the kernels of GPUs on machines without one, too, with the arguments that they
expect in the host's memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.framework import kernels

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# A constant is copied once, and shapes are known to the host.
_OF_THE_HOST = ("Const", "Shape", "ShapeN", "Size", "Rank")


class Copy(NamedTuple):
    """An edge from a GPU's memory to the host's, by names of operations and their types.

    Its reader waits for all that was queued on the GPU before.
    """

    source: str
    reader: str
    source_type: str
    reader_type: str


class Findings(NamedTuple):
    """What was found on a device; `missing` has (type, first input's dtype) without a kernel."""

    copies: list[Copy]
    missing: set[tuple[str, str]]


def examine(graph: Any, device: str) -> Findings:
    """Follows the tensors of a graph and of the functions that it calls.

    Args:
        device: end of a logical device's name, "CPU:1", which stands for a GPU.
    """
    findings = Findings([], set())
    _Walk(device, findings).through(graph, on_device=False, arguments_on_host=())
    return findings


class _Walk:
    def __init__(self, device: str, findings: Findings):
        self._device, self._findings = device, findings

    def through(
        self, graph: Any, *, on_device: bool, arguments_on_host: Sequence[bool]
    ) -> list[bool]:
        """Returns of each result of the graph whether it is in the host's memory.

        Args:
            on_device: whether operations that name no device are on it.
        """
        names = [tensor.name for tensor in graph.inputs]
        is_on_host = dict(zip(names, arguments_on_host, strict=False))
        for op in graph.get_operations():
            is_here = op.device.endswith(self._device) if op.device else on_device
            if op.type in _CALLS and is_here:
                body = graph._get_function(op.get_attr("f").name).graph
                arguments = [is_on_host.get(tensor.name, True) for tensor in op.inputs]
                results = self.through(body, on_device=True, arguments_on_host=arguments)
            else:
                results = self._visit(op, is_here, is_on_host)
            names = (tensor.name for tensor in op.outputs)
            for name, result in zip(names, results, strict=True):
                is_on_host.setdefault(name, result)
        return [is_on_host[tensor.name] for tensor in graph.outputs]

    def _visit(self, op: tf.Operation, is_here: bool, is_on_host: dict[str, bool]) -> list[bool]:
        kernel = gpu_kernel(op) if is_here else None
        if is_here and kernel is None and _registered(op.type):
            dtype = op.inputs[0].dtype.name if op.inputs else ""
            self._findings.missing.add((op.type, dtype))
        inputs = _names(op.op_def.input_arg, op)
        for tensor, name in zip(op.inputs, inputs, strict=True):
            is_read_by_host = kernel is None or name in kernel.host_memory_arg
            is_handle = tensor.dtype == tf.resource
            if is_read_by_host and not is_handle and not is_on_host[tensor.name]:
                self._findings.copies.append(Copy(tensor.op.name, op.name, tensor.op.type, op.type))
        if kernel is None or op.type in _OF_THE_HOST:
            return [True] * len(op.outputs)
        return [name in kernel.host_memory_arg for name in _names(op.op_def.output_arg, op)]


@functools.cache
def _registered(op_type: str) -> list[Any]:
    return list(kernels.get_registered_kernels_for_op(op_type).kernel)


def gpu_kernel(op: tf.Operation) -> Any:
    """Returns the kernel that a GPU would run an operation by; None if there is none."""
    for kernel in _registered(op.type):
        if kernel.device_type in ("GPU", "DEFAULT") and all(
            _type_of(op, constraint.name) in constraint.allowed_values.list.type
            for constraint in kernel.constraint
        ):
            return kernel
    return None


def _type_of(op: tf.Operation, name: str) -> int:
    value = op.get_attr(name)
    return tf.as_dtype(value[0] if isinstance(value, list) else value).as_datatype_enum


def _names(arguments: Any, op: tf.Operation) -> list[str]:
    """Returns the argument's name of each tensor."""
    names = []
    for argument in arguments:
        count = 1
        if argument.number_attr:
            count = op.get_attr(argument.number_attr)
        elif argument.type_list_attr:
            count = len(op.get_attr(argument.type_list_attr))
        names += [argument.name] * count
    return names
