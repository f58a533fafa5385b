"""Runs several training steps per call into TensorFlow, which takes Python off the path."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from benchmark_cnn.distribution import determinism
from benchmark_cnn.distribution.devices import HOST
from benchmark_cnn.step.markers import mark
from benchmark_cnn.step.training_step import REPORT, TrainingStep

# TensorFlow rejects more than 32 calls of `next` in all graphs together, and there are
# two graphs, or four in a run that trains the head first.
_MAXIMUM_CALLS = 8


class StepLoop:
    """Runs training steps by one of two graphs: of a single step, and of several.

    Args:
        single: (report bool, summarize bool) -> (report, seconds waited for data).
        several: (number of steps int32, report, summarize) -> (last report, seconds waited).
        inlined: a `single` that calls no functions; None if neither calls any.
        check: called with each graph before it runs for the first time.
    """

    def __init__(
        self,
        single: Callable,
        several: Callable,
        inlined: Callable | None = None,
        check: Callable[[tf.Graph], None] | None = None,
    ):
        self._single, self._several, self._inlined = single, several, inlined
        self._check = check
        self._compiled: set[Callable] = set()

    def compiles(self, num_steps: int) -> bool:
        """Returns whether a call of `num_steps` would compile its graph, which takes far longer."""
        return self._graph(num_steps) not in self._compiled

    def __call__(
        self, num_steps: int, report: bool, summarize: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs `num_steps` steps.

        Args:
            report: whether the caller will read the values of the last step.
            summarize: whether the last step calls its hooks.

        Returns:
            The values, float32 [len(REPORT)], and the seconds that steps waited for their batches,
            float64, measured inside the graph: prefetched batches arrive at once. NaN on GPUs, and
            in deterministic runs.
        """
        graph = self._graph(num_steps)
        sizes = [] if graph is self._single else [num_steps]
        with tf.device(HOST):
            arguments = [tf.constant(value) for value in (*sizes, report, summarize)]
        if self._check is not None and graph not in self._compiled:
            traced: Any = graph
            self._check(traced.get_concrete_function(*arguments).graph)
        self._compiled.add(graph)
        try:
            return graph(*arguments)
        except tf.errors.CancelledError:
            if self._inlined is not None:
                # A call that fails cancels what waits for it, and TensorFlow may raise that.
                self._inlined(*arguments[-2:])
            raise

    def _graph(self, num_steps: int) -> Callable:
        # The graph of several steps can also run one, which saves tracing another.
        is_single = num_steps == 1 and self._several not in self._compiled
        return self._single if is_single else self._several


def make_step_loop(step: TrainingStep, batches: Iterator, micro_batches: int) -> StepLoop:
    """Makes the loop of `step` over `batches`, of which each step takes `micro_batches`."""

    def take():
        return next(batches)

    if micro_batches > _MAXIMUM_CALLS:
        take = tf.function(take, autograph=False)

    def fetch():
        return tuple(take() for _ in range(micro_batches))

    def timed_fetch():
        asked = tf.timestamp()
        with tf.control_dependencies([asked]):
            batch = fetch()
        arrived = [step.manager.local_results(part) for part in tf.nest.flatten(batch)]
        with tf.control_dependencies(tf.nest.flatten(arrived)):
            return batch, tf.timestamp() - asked

    def untimed_fetch():
        # A time read after a GPU has its batch cannot tell a late batch from a busy GPU.
        with tf.device(HOST):
            unknown = tf.constant(float("nan"), tf.float64)
        return fetch(), unknown

    on_host = step.manager.shares_memory
    is_timed = on_host and not determinism.is_required()  # which forbids clocks

    def one(report, summarize, step=step):
        batch, waited = timed_fetch() if is_timed else untimed_fetch()
        if step.markers is not None:
            mark(step.markers.batches, [waited])
        return step(batch, report, summarize), waited

    def body(count, num_steps, report, summarize, _values, waited):
        with tf.device(HOST):
            is_last = count == num_steps - 1
            reports, summarizes = (tf.logical_and(flag, is_last) for flag in (report, summarize))
        values, more = one(reports, summarizes)
        with tf.device(HOST):
            return count + 1, num_steps, report, summarize, values, waited + more

    @tf.function(autograph=False)
    def single(report, summarize):
        return one(report, summarize)

    @tf.function(autograph=False)
    def several(num_steps, report, summarize):
        nothing = tf.fill([len(REPORT)], float("nan"))
        with tf.device(HOST):
            first, no_time = tf.constant(0), tf.zeros([], tf.float64)
        *_, values, waited = tf.while_loop(
            lambda count, num_steps, *_: count < num_steps,
            body,
            (first, num_steps, report, summarize, nothing, no_time),
            parallel_iterations=1,
        )
        return values, waited

    check = determinism.check if determinism.is_required() and not on_host else None
    if step.inlined:
        return StepLoop(single, several, check=check)

    @tf.function(autograph=False)
    def inlined(report, summarize):
        return one(report, summarize, dataclasses.replace(step, inlined=True))

    return StepLoop(single, several, inlined, check)
