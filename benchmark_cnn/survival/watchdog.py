"""Says where a step hangs: a collective that one device never joins waits without a word."""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import statistics
import threading
import time
from collections.abc import Iterator
from typing import IO

from absl import logging

from benchmark_cnn.run_directory import RunDirectory
from benchmark_cnn.step import markers
from benchmark_cnn.step.markers import Markers

_TIMES_THE_USUAL = 10
_REMEMBERED_STEPS = 20
# The first call compiles its graph, for minutes with XLA, and sets up the collectives.
_TIMES_FOR_COMPILING = 6


class Watchdog(contextlib.AbstractContextManager):
    """A context that reports, once a call, steps that take far longer than usual.

    Args:
        minutes: how long a step may take at least, however short the others are; 0 watches nothing.
        directory: where the stacks are written, too; None writes them to stderr alone.
        marks: the counters that steps advance.
    """

    def __init__(self, minutes: float, directory: RunDirectory | None, marks: Markers | None):
        self._least_secs = 60 * minutes
        self._directory, self._marks = directory, marks
        self._step_secs: collections.deque[float] = collections.deque(maxlen=_REMEMBERED_STEPS)
        self._started_steps = 0
        self._call: tuple[float, int, float] | None = None  # began, last step, limit in seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watchdog:
        if self._least_secs:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        if self._least_secs:
            self._thread.join()

    @contextlib.contextmanager
    def steps(self, previous: int, step: int, compiles: bool) -> Iterator[None]:
        """Watches the block, a call that runs the steps in (previous, step]."""
        number, began = step - previous, time.monotonic()
        usual = statistics.median(self._step_secs) * number if self._step_secs else 0.0
        limit = max(self._least_secs * (_TIMES_FOR_COMPILING if compiles else 1), 0.0)
        self._started_steps += number
        self._call = (began, step, max(limit, _TIMES_THE_USUAL * usual))
        try:
            yield
        finally:
            self._call = None
        if not compiles:
            self._step_secs.append((time.monotonic() - began) / number)

    def _watch(self) -> None:
        reported = None
        while not self._ended.wait(min(5.0, self._least_secs / 4)):
            call = self._call
            if call is None or call is reported or time.monotonic() - call[0] < call[2]:
                continue
            reported = call
            self._report(call[1], time.monotonic() - call[0])

    def _report(self, step: int, seconds: float) -> None:
        usual = "a step usually takes less"
        if self._step_secs:
            usual = f"a step usually takes {statistics.median(self._step_secs):.2g} s"
        missing = ""
        if self._marks is not None:
            missing = f": {markers.missing(self._marks, self._started_steps)}"
        logging.warning("step %d has taken %.0f s, and %s%s", step, seconds, usual, missing)
        faulthandler.dump_traceback(all_threads=True)
        if self._directory is not None:
            path = self._directory.path / f"stacks-step-{step}.txt"
            with contextlib.suppress(OSError), path.open("w") as file:
                _write_stacks(file, step, seconds, missing)
                logging.warning("the stacks of all threads are in %s", path)


def _write_stacks(file: IO[str], step: int, seconds: float, missing: str) -> None:
    file.write(f"step {step} after {seconds:.0f} s{missing}\n\n")
    file.flush()
    faulthandler.dump_traceback(file, all_threads=True)
