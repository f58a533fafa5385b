"""Counters that a step advances on its way, so that one can see where a step hangs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Markers(NamedTuple):
    """Counters on the host, int64.

    Attributes:
        batches: steps that have their batches.
        towers: of each tower of this worker, the steps that have their gradients.
    """

    batches: tf.Variable
    towers: Sequence[tf.Variable]


def create(num_towers: int) -> Markers:
    """Creates the counters of this worker's towers."""
    with tf.device("/device:CPU:0"):
        counters = [
            tf.Variable(tf.zeros([], tf.int64), trainable=False, name=f"marker_{index}")
            for index in range(num_towers + 1)
        ]
    return Markers(counters[0], counters[1:])


def mark(counter: tf.Variable, after: Sequence[tf.Tensor]) -> None:
    """Advances `counter` once the tensors are computed. Called inside a graph."""
    with tf.control_dependencies(list(after)):
        counter.assign_add(1)


def missing(markers: Markers, steps: int) -> str:
    """Says what a step waits for, by what the `steps` steps that began have reached."""
    if int(markers.batches) < steps:
        return "its images have not arrived"
    late = [tower for tower, count in enumerate(markers.towers) if int(count) < steps]
    if not late:
        return "every tower has its gradients: their sum or the update is not done"
    ready = [tower for tower in range(len(markers.towers)) if tower not in late]
    waits = f"; {_towers(ready)} wait for it" if ready else ""
    return f"no gradients from {_towers(late)}{waits}"


def _towers(numbers: Sequence[int]) -> str:
    return f"tower{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
