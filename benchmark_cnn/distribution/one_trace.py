"""Functions that all towers call, and that tower 0 traces for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from benchmark_cnn.distribution.variable_mgr import VariableManager


class OneTrace:
    """A function of a tower's tensors and variables, traced once and called on every tower.

    Python then runs it once, not once a tower. TensorFlow's graph optimizer does so, too, unless
    the function is inlined. On GPUs it has to be: the all-reduce of one gradient then overlaps the
    computation of the next.

    Args:
        function: takes tensors, and reads or updates copies of `variables`.
        variables: of which each tower has a copy.
        inlined: whether the graph of a call takes its place.
    """

    def __init__(
        self,
        manager: VariableManager,
        function: Callable,
        variables: Iterable,
        *,
        inlined: bool,
    ):
        self._manager = manager
        self._inlined = inlined
        self._function = function
        self._variables = variables
        self._traced: Any = None
        # Of each tensor that the trace captured, the tensors of all towers in its place; nothing
        # where each tower has to be traced by itself.
        self._captured: list[tuple] = []

    def __call__(self, tower: int, *arguments):
        """Calls the function as tower `tower`, tower 0 first; all give equal shapes."""
        if self._manager.num_local_towers == 1:
            return self._function(*arguments)
        if tower == 0 and self._traced is None:
            self._trace(arguments)
        if self._traced is None or not self._captured:
            return self._function(*arguments)
        self._traced.set_external_captures([tensors[tower] for tensors in self._captured])
        return self._traced(*arguments)

    def _trace(self, arguments: tuple) -> None:
        attributes = {} if self._inlined else {"_noinline": True}
        traced: Any = tf.function(
            self._function, autograph=False, experimental_attributes=attributes
        )
        try:
            self._traced = traced.get_concrete_function(*arguments)
        except RuntimeError:
            # Towers that exchange values, as those with synchronized batch norm do, cannot do so
            # within a function: each is traced by itself. Any other error comes back there.
            return
        handles = {}
        for variable in self._variables:
            copies = self._manager.local_results(variable)
            handles[id(copies[0].handle)] = tuple(copy.handle for copy in copies)
        captured = self._traced.captured_inputs
        if any(t.dtype == tf.resource and id(t) not in handles for t in captured):
            return  # a variable whose other copies are not known
        count = self._manager.num_local_towers
        for tensor in captured:
            tensors = handles.get(id(tensor), (tensor,))
            self._captured.append(tensors if len(tensors) == count else tensors * count)
