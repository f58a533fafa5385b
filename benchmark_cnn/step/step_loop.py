"""Several training steps in one call into TensorFlow, so that Python is not on the path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import tensorflow as tf

from benchmark_cnn.step.training_step import REPORT, TrainingStep

# TensorFlow takes it for a mistake when graphs together call an iterator's next more than 32 times,
# and a run has two graphs: of one step and of several.
_MAXIMUM_CALLS = 16


class StepLoop:
    """Runs training steps by one of two graphs: of a single step, and of several.

    Args:
      single: (report bool, summarize bool) -> (report, seconds waited for data).
      several: (number of steps int32, report, summarize) -> (last report, seconds waited).
    """

    def __init__(self, single: Callable, several: Callable):
        self._single, self._several = single, several
        self._compiled: set[Callable] = set()

    def compiles(self, num_steps: int) -> bool:
        """Whether the next call, of `num_steps`, is the first of its graph: it takes far longer."""
        return self._graph(num_steps) not in self._compiled

    def __call__(
        self, num_steps: int, report: bool, summarize: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run `num_steps` steps.

        Args:
          report: whether the caller will read the values of the last one.
          summarize: whether the last one calls its hooks.

        Returns:
          float32 [len(REPORT)], and the seconds waited for data, float64: those between a step
          asking for its batch and having it, measured inside the graph. Prefetched batches come at
          once.
        """
        graph = self._graph(num_steps)
        self._compiled.add(graph)
        sizes = [] if graph is self._single else [tf.constant(num_steps)]
        return graph(*sizes, tf.constant(report), tf.constant(summarize))

    def _graph(self, num_steps: int) -> Callable:
        return self._single if num_steps == 1 else self._several


def make_step_loop(step: TrainingStep, batches: Iterator, micro_batches: int) -> StepLoop:
    """The loop of `step` over `batches`, of which each step takes `micro_batches`."""

    def take():
        return next(batches)

    if micro_batches > _MAXIMUM_CALLS:
        take = tf.function(take, autograph=False)

    def one(report, summarize):
        # In float64 seconds since 1970, read when TensorFlow gets there.
        asked = tf.timestamp()
        with tf.control_dependencies([asked]):
            batch = tuple(take() for _ in range(micro_batches))
        arrived = [step.manager.local_results(part) for part in tf.nest.flatten(batch)]
        with tf.control_dependencies(tf.nest.flatten(arrived)):
            waited = tf.timestamp() - asked
        return step(batch, report, summarize), waited

    def body(count, num_steps, report, summarize, _values, waited):
        is_last = count == num_steps - 1
        values, more = one(tf.logical_and(report, is_last), tf.logical_and(summarize, is_last))
        return count + 1, num_steps, report, summarize, values, waited + more

    @tf.function(autograph=False)
    def single(report, summarize):
        return one(report, summarize)

    @tf.function(autograph=False)
    def several(num_steps, report, summarize):
        nothing = tf.fill([len(REPORT)], float("nan"))
        *_, values, waited = tf.while_loop(
            lambda count, num_steps, *_: count < num_steps,
            body,
            (tf.constant(0), num_steps, report, summarize, nothing, tf.zeros([], tf.float64)),
            parallel_iterations=1,
        )
        return values, waited

    return StepLoop(single, several)
