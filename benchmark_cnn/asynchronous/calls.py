"""Steps that were scheduled on the workers, and their results in the order of the scheduling."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from benchmark_cnn.distribution.asynchronous_manager import AsynchronousManager
from benchmark_cnn.step.training_step import REPORT

# Each worker has a step to do while the result of its last one is on its way.
_STEPS_PER_WORKER = 2
_POLL_SECS = 0.2


class Result(NamedTuple):
    """A step that was applied.

    Attributes:
        number: the updates that were applied, this one included.
        staleness: the updates that others applied between its reading and its writing.
        values: by the names of REPORT.
    """

    number: int
    staleness: int
    values: dict[str, float]


LOST = Result(0, 0, {})
"""A step that was applied by a worker that died before the chief had copied its values."""


class Calls:
    """Schedules calls of `step`, and waits for the oldest.

    Args:
        batches: see AsynchronousManager.batches.
    """

    def __init__(self, manager: AsynchronousManager, step: Callable, batches):
        self._coordinator, self._batches = manager.coordinator, batches
        self._most = _STEPS_PER_WORKER * manager.num_workers
        self._pending: deque[concurrent.futures.Future] = deque()
        # RemoteValue.fetch cannot be interrupted, and the main thread has signals to serve. It may
        # never return, as from a worker that hangs; the exit waits for no daemon.
        self._values: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=_fetch, args=(self._values,), daemon=True).start()

        @tf.function(autograph=False)
        def call(iterator):
            return step(next(iterator))

        self._call = call

    @property
    def num_pending(self) -> int:
        return len(self._pending)

    @property
    def has_room(self) -> bool:
        """Whether the workers have less to do than they can."""
        return len(self._pending) < self._most

    def schedule(self) -> None:
        """Asks for one more step, on whichever worker is free."""
        value = self._coordinator.schedule(self._call, args=(self._batches,))
        result: concurrent.futures.Future = concurrent.futures.Future()
        self._values.put((value, result))
        self._pending.append(result)

    def oldest(self, check: Callable[[], bool]) -> Result | None:
        """Waits for the result that was asked for first; it may be LOST.

        Args:
            check: called while waiting; may raise, and ends the wait with None by False.
        """
        while check():
            if concurrent.futures.wait([self._pending[0]], _POLL_SECS).done:
                break
        else:
            return None
        fetched = self._pending.popleft().result()
        if fetched is None:
            return LOST
        values, (read, applied) = fetched
        named: dict[str, float] = dict(zip(REPORT, values.tolist(), strict=True))
        return Result(int(applied) + 1, int(applied - read), named)

    def abandon(self) -> None:
        """Forgets what is pending: nobody is left to do it."""
        self._pending.clear()


def _fetch(values: queue.SimpleQueue) -> None:
    """Waits for values in the order of the queue of (RemoteValue, Future).

    The coordinator repeats a step whose worker dies before its end. A value stays on its worker
    until it is fetched here, after that end: with a worker lost in between, the result is None.
    """
    while True:
        value, result = values.get()
        try:
            result.set_result(value.fetch())
        except tf.errors.UnavailableError as error:
            of_worker = "/job:worker/" in str(error) and "/job:ps/" not in str(error)
            result.set_result(None) if of_worker else result.set_exception(error)
        except BaseException as error:
            result.set_exception(error)
