"""Where and how layers compute, for those that are written differently for GPUs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.framework import config
from tensorflow.python.ops import control_flow_util

# Of the process, not of a thread: a MirroredStrategy traces each tower in a thread of its own.
_is_assumed = False


def is_gpu() -> bool:
    """Returns whether layers that are traced now will run on a GPU."""
    return _is_assumed or bool(tf.config.list_logical_devices("GPU"))


def is_deterministic() -> bool:
    """Returns whether kernels without a fixed order of sums raise an error (`--deterministic`)."""
    return bool(config.is_op_determinism_enabled())


def is_compiled() -> bool:
    """Returns whether XLA will compile what is traced now (`jit_compile=True`)."""
    graph = tf.compat.v1.get_default_graph()
    return bool(control_flow_util.GraphOrParentsInXlaContext(graph))


@contextlib.contextmanager
def assume_gpu() -> Iterator[None]:
    """Makes layers that are traced within the block those of a GPU, on a machine without one."""
    global _is_assumed
    before, _is_assumed = _is_assumed, True
    try:
        yield
    finally:
        _is_assumed = before
