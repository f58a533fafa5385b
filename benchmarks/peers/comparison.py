"""The rounds of one comparison: all candidates start, then take turns."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmark_cnn.reporting import run_record
from benchmarks.gpu import settings
from benchmarks.peers import candidates
from benchmarks.peers.candidates import MACHINE, Task
from benchmarks.rounds import CandidateFailed, CandidateProcess, run_rounds
from common import process
from common.commands import write_line
from common.errors import DataError

# Allocators and caches need some steps: timm's third round was twice as fast as its first.
_UNMEASURED_ROUNDS = 3
Running = dict[str, CandidateProcess]


def measure(task: Task, record: dict[str, Any], rounds: int) -> Iterator[None]:
    """Adds rounds to `record` until there are `rounds` of them; yields after each one.

    A candidate that fails takes no further part, and `record` has the reason.

    Args:
        record: of this task, empty at first. `rounds` has the images/s of each candidate, `peaks`
            the matrix-product peak by dtype in TFLOP/s, each for every round; `macs` the
            multiply-adds of a forward pass of one image; `about` the machine and the versions.
    """
    record |= {"macs": settings.macs(task.network, task.image_size), "failed": {}}
    record["about"] = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{process.num_cores()} cores of {run_record.cpu_model()}",
        "versions": run_record.versions(),
    }
    running: Running = {}
    try:
        started = time.perf_counter()
        for name, make in candidates.makers(task).items():  # all start at the same time
            running[name] = make()
            running[name].begin()
        for name in list(running):
            about = _attempt(name, running, record, lambda one: one.end()) or {}
            record["about"]["versions"].update(about.get("versions", {}))
        for _ in range(_UNMEASURED_ROUNDS):
            for name in list(running):
                _attempt(name, running, record)
        write_line(f"  ready after {time.perf_counter() - started:.0f} s: {', '.join(running)}")
        while len(record["rounds"]) < rounds:
            _add_round(task, running, record)
            yield
    finally:
        for candidate in running.values():
            candidate.stop()


def _add_round(task: Task, running: Running, record: dict[str, Any]) -> None:
    def timed(name: str) -> tuple[float, Any]:
        started = time.perf_counter()
        result = _attempt(name, running, record)
        return time.perf_counter() - started, result

    runs = {name: functools.partial(timed, name) for name in running}
    results = run_rounds(runs, 1, first=len(record["rounds"]))
    images = task.batch_size * task.steps
    speeds = {name: images / secs for name, [(secs, _)] in results.items() if name in running}
    speeds.pop(MACHINE, None)
    record["peaks"].append(results[MACHINE][0][1])
    record["rounds"].append(speeds)


def _attempt(
    name: str,
    running: Running,
    record: dict[str, Any],
    call: Callable[[CandidateProcess], Any] = lambda one: one.run(),
) -> Any:
    """Calls a candidate, by default for a run; stops and notes one that fails."""
    try:
        return call(running[name])
    except CandidateFailed as error:
        if name == MACHINE:
            raise DataError(f"{MACHINE} could not be measured: {error}") from error
        record["failed"][name] = f"failed: {error}"
        write_line(f"  {name} failed: {error}")
        running.pop(name).stop()
        return None
