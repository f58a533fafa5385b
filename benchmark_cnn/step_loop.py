"""Several training steps in one call into TensorFlow, so that Python is not on the path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import tensorflow as tf

from benchmark_cnn.training_step import REPORT, TrainingStep

# TensorFlow takes it for a mistake when graphs together call an iterator's next more than 32 times,
# and a run has two graphs: of one step and of several.
_MAXIMUM_CALLS = 16


def make_step_loop(step: TrainingStep, batches: Iterator, micro_batches: int) -> Callable:
    """A function (number of steps int32, report bool) -> (last report, seconds waited for data).

    The waiting time is that between a step asking for its batch and having it, measured inside
    the graph; prefetched batches come at once.
    """

    def take():
        return next(batches)

    if micro_batches > _MAXIMUM_CALLS:
        take = tf.function(take, autograph=False)

    def one(report):
        # In float64 seconds since 1970, read when TensorFlow gets there.
        asked = tf.timestamp()
        with tf.control_dependencies([asked]):
            batch = tuple(take() for _ in range(micro_batches))
        arrived = [step.manager.local_results(part) for part in tf.nest.flatten(batch)]
        with tf.control_dependencies(tf.nest.flatten(arrived)):
            waited = tf.timestamp() - asked
        return step(batch, report), waited

    def body(count, num_steps, report, _values, waited):
        values, more = one(tf.logical_and(report, count == num_steps - 1))
        return count + 1, num_steps, report, values, waited + more

    @tf.function(autograph=False)
    def single(report):
        return one(report)

    @tf.function(autograph=False)
    def several(num_steps, report):
        nothing = tf.fill([len(REPORT)], float("nan"))
        *_, values, waited = tf.while_loop(
            lambda count, num_steps, *_: count < num_steps,
            body,
            (tf.constant(0), num_steps, report, nothing, tf.zeros([], tf.float64)),
            parallel_iterations=1,
        )
        return values, waited

    def run(num_steps: int, report: bool):
        if num_steps == 1:
            return single(tf.constant(report))
        return several(tf.constant(num_steps), tf.constant(report))

    return run
