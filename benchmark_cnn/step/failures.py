"""Tells failures of reading data from those of the network's kernels.

TensorFlow has the same classes of errors for both: a cuDNN that finds no algorithm and a file that
is gone are both NotFoundError. The node that failed tells them apart.
"""

from __future__ import annotations

import re

import tensorflow as tf

from benchmark_cnn.interfaces import Dataset
from common.errors import RunError

# Damaged records and missing files raise the first five; kernels raise all of them.
ERRORS = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnknownError,
    tf.errors.UnimplementedError,
    tf.errors.FailedPreconditionError,
)
# The first node is the one that failed; on several devices its neighbors' names follow it.
_FAILED_NODE = re.compile(r"Detected at node (\S+)|\{\{(?:function_)?node (\S+?)\}\}|\[Op:(\w+)")
_READS = re.compile(r"Iterator|OptionalGetValue|RemoteCall")
_OF_TF_DATA = "Error in user-defined function passed to"
# Of a node in a function of tf.data; those of the step have a trace.
_UNTRACED = "<stack traces unavailable>"
_TRACE_LINES = ("Graph execution error", "Detected at node", "File ", "[[{{", "(most recent")


def explain(error: tf.errors.OpError, dataset: Dataset, subset: str) -> Exception:
    """Returns what to raise for `error`: the data set's explanation, or a RunError of a kernel."""
    message = error.message or str(error)
    failed = _FAILED_NODE.search(message)
    node = next(filter(None, failed.groups())) if failed else ""
    in_function = _OF_TF_DATA in message or (_UNTRACED in message and _READS.search(message))
    if not failed or _READS.search(node) or in_function:
        return dataset.explain(error, subset)
    lines = [re.sub(r"\{\{.*?\}\}|\[Op:.*", "", line).strip() for line in message.splitlines()]
    causes = [line for line in lines if line and not line.startswith(_TRACE_LINES)]
    cause = causes[0] if causes else type(error).__name__
    return RunError(f"TensorFlow failed at {node}, not while reading data: {cause}")
