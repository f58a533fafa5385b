"""Comparisons in rounds: every candidate runs once a round, and ratios are taken within a round.

A machine that slows down for a while then slows down all candidates. TensorFlow's devices and
threads belong to a process, so candidates that train or convert get a process each.
"""

from __future__ import annotations

import contextlib
import functools
import io
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from common import process

# Batches that were prepared while the others ran cost nothing: the start of a run is not measured.
_UNMEASURED_SHARE = 0.25

Result = TypeVar("Result")


def run_rounds(
    candidates: Mapping[str, Callable[[], Result]], rounds: int, *, first: int = 0
) -> dict[str, list[Result]]:
    """Runs every candidate once a round; each round begins with the next candidate.

    Args:
        first: the number of the first round, where others came before it.

    Returns:
        The results of every candidate, one a round.
    """
    results: dict[str, list[Result]] = {name: [] for name in candidates}
    names = list(candidates)
    for number in range(first, first + rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            results[name].append(candidates[name]())
    return results


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Returns the quotient of two candidates' results in every round."""
    return [a / b for a, b in zip(ours, baseline, strict=True)]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the median, the lowest and the highest of some values."""
    return statistics.median(values), min(values), max(values)


def spread_text(values: Sequence[float], digits: int) -> str:
    """Returns the median, with the lowest and the highest in parentheses."""
    middle, low, high = spread(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


@dataclass(frozen=True)
class Speed:
    """Examples per second, and per second of processor time, which is what one core does.

    Other programs on the machine hardly change the second.
    """

    per_sec: float
    per_core: float


Candidate = Callable[[float], Speed]
"""Runs for about `secs` seconds and returns its throughput."""


def measure_speeds(
    candidates: Mapping[str, Candidate], *, rounds: int, secs: float
) -> dict[str, list[Speed]]:
    """Returns the speeds of every candidate, one a round, after a round that is not counted.

    That round starts threads and processes, and fills caches.
    """
    runs = {name: functools.partial(run, secs) for name, run in candidates.items()}
    run_rounds(runs, 1)
    return run_rounds(runs, rounds)


def stream_candidate(batches: Iterator, batch_size: int) -> Candidate:
    """Returns a candidate that takes batches of an endless iterator and drops them."""

    def run(secs: float) -> Speed:
        _take(batches, secs * _UNMEASURED_SHARE)
        before = time.process_time()
        num_batches, seconds = _take(batches, secs * (1 - _UNMEASURED_SHARE))
        return speed_of(num_batches * batch_size, seconds, time.process_time() - before)

    return run


def speed_of(num_examples: int, seconds: float, processor_secs: float) -> Speed:
    """Returns the speed at `num_examples`. A clock that has not moved counts as one tick."""
    tick = 1e-9
    return Speed(num_examples / max(seconds, tick), num_examples / max(processor_secs, tick))


def _take(batches: Iterator, secs: float) -> tuple[int, float]:
    """Takes batches for `secs` or a little longer; returns their number and the seconds."""
    num_batches, started = 0, time.perf_counter()
    while True:
        next(batches)
        num_batches += 1
        seconds = time.perf_counter() - started
        if seconds >= secs:
            return num_batches, seconds


class CandidateFailed(Exception):
    """A candidate could not be built or could not finish its run."""


Run = Callable[[], Any]
"""What a `CandidateProcess` calls once a round. The result has to be picklable."""


class CandidateProcess:
    """A process that calls `make(*arguments)` once, and what that returned in every round."""

    def __init__(self, make: Callable[..., Run], *arguments):
        ours, theirs = multiprocessing.Pipe()
        processes = multiprocessing.get_context("spawn")
        self._process = processes.Process(
            target=_serve, args=(theirs, make, arguments), daemon=True
        )
        self._process.start()
        self._connection = ours
        theirs.close()

    def begin(self) -> None:
        """Starts a run; `end` waits for it."""
        with contextlib.suppress(OSError):  # `end` reports a process that has ended
            self._connection.send("run")

    def end(self) -> Any:
        """Waits for the run and returns its result.

        Raises:
            CandidateFailed: with the reason.
        """
        try:
            problem, result = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise CandidateFailed(f"ended with exit code {self._process.exitcode}") from None
        if problem:
            raise CandidateFailed(problem)
        return result

    def run(self) -> Any:
        """Runs once and returns the result; raises as `end` does."""
        self.begin()
        return self.end()

    def seconds(self) -> float:
        """Runs once and returns how long it took; raises as `end` does."""
        started = time.perf_counter()
        self.run()
        return time.perf_counter() - started

    def stop(self) -> None:
        """Ends the process and waits until its memory is free."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection, make: Callable[..., Run], arguments: tuple) -> None:
    try:
        with process.quiet_startup(), contextlib.redirect_stdout(io.StringIO()):
            run = make(*arguments)
        while _is_asked(connection):
            connection.send(("", run()))
    except Exception as error:  # whatever it is, the parent reports it, if it is still there
        # The error's type and, if it has a text, the first line of that.
        lines = str(error).strip().splitlines()
        with contextlib.suppress(OSError):
            connection.send((": ".join([type(error).__name__, *lines[:1]]), None))


def _is_asked(connection) -> bool:
    """Waits for the next run; returns False if the parent has closed the pipe or has ended."""
    try:
        return bool(connection.recv())
    except EOFError:
        return False
