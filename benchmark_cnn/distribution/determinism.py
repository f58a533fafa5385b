"""Runs with `--deterministic`: what no GPU computes in a fixed order is refused before a step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.framework import config

from common.errors import UsageError

# TensorFlow 2.21 raises an error when it reaches one of these on a GPU. It has others, which no
# network here uses.
_UNORDERED = (
    "DepthwiseConv2dNativeBackpropFilter",
    "MaxPoolGradWithArgmax",
    "ResizeNearestNeighborGrad",
    "AdjustContrastv2",
    "SparseTensorDenseMatMul",
)


def is_required() -> bool:
    """Returns whether this process uses deterministic kernels only."""
    return bool(config.is_op_determinism_enabled())


def check(graph: tf.Graph) -> None:
    """Checks the operations of a graph, and of its functions, that is to run on GPUs.

    Raises:
        UsageError: one of them has no deterministic kernel there.
    """
    definition: Any = graph.as_graph_def()
    nodes = list(definition.node)
    is_compiled = False
    for function in definition.library.function:
        nodes += function.node_def
        is_compiled |= "_XlaMustCompile" in function.attr and function.attr["_XlaMustCompile"].b
    unordered = sorted({node.op for node in nodes if _is_unordered(node, is_compiled)})
    if unordered:
        raise UsageError(
            f"--deterministic: TensorFlow has no deterministic kernel for {', '.join(unordered)} "
            f"on GPUs{', compiled by XLA' if is_compiled else ''}; leave it out, or give "
            "--device=cpu or another --model"
        )


def _is_unordered(node: Any, is_compiled: bool) -> bool:
    if node.op == "FusedBatchNormGradV3":
        return not node.attr["is_training"].b
    return node.op in _UNORDERED or (is_compiled and node.op == "MaxPoolGrad")
