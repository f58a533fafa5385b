"""Results of scheduled steps; what a lost worker takes along is not an error of the run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.asynchronous.calls import LOST, Calls
from benchmark_cnn.step.training_step import REPORT


class Coordinator:
    """Hands out prepared values in place of those of remote steps."""

    def __init__(self, *outcomes):
        self._outcomes = list(outcomes)

    def schedule(self, _function, args):
        outcome = self._outcomes.pop(0)

        def fetch():
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return SimpleNamespace(fetch=fetch)


def calls_with(*outcomes):
    manager = SimpleNamespace(coordinator=Coordinator(*outcomes), num_workers=2)
    calls = Calls(manager, step=lambda batch: batch, batches=None)
    for _ in outcomes:
        calls.schedule()
    return calls


def unavailable(place):
    message = f"error from remote target /job:{place}/replica:0/task:1: Connection refused"
    return tf.errors.UnavailableError(None, None, message)


def test_a_value_that_died_with_its_worker_is_lost_and_the_next_one_follows():
    """The coordinator repeats no step that has ended, and fetches its value only when asked."""
    applied = np.arange(len(REPORT), dtype=np.float32), (np.int64(7), np.int64(9))
    calls = calls_with(unavailable("worker"), applied)
    assert calls.oldest(lambda: True) is LOST
    number, staleness, values = calls.oldest(lambda: True)
    assert (number, staleness) == (10, 2)
    assert list(values.values()) == [*range(len(REPORT))]
    assert calls.num_pending == 0


@pytest.mark.parametrize(
    "error", [unavailable("ps"), tf.errors.InvalidArgumentError(None, None, "damaged")]
)
def test_other_errors_are_those_of_the_run(error):
    with pytest.raises(type(error), match=error.message):
        calls_with(error).oldest(lambda: True)
