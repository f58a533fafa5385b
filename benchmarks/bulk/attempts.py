"""One network after the other, each in a process; with half the batch again when memory ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bulk.networks import Entry
from benchmarks.bulk.table import Row
from common import files, installation, process
from common.errors import Stopped
from common.process import StopSignal

_POLL_SECS = 0.2
_PATIENCE_SECS = 15  # of a child that was asked to stop
_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Attempt:
    """How the process of one network ended.

    Attributes:
        outcome: what it wrote (child.py); None if it was killed before.
        exit_code: negative for a signal.
        tail: the end of its output.
        was_limited: whether its memory had a limit of ours.
    """

    outcome: Mapping[str, Any] | None
    exit_code: int
    seconds: float
    tail: str
    was_limited: bool = False

    @property
    def result(self) -> Mapping[str, Any] | None:
        """The result of eval.py, None without."""
        return (self.outcome or {}).get("result")

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether half the batch may do: TensorFlow or Python said so, or the kernel killed it.

        Where an allocation fails by a limit of ours, TensorFlow's input pipeline crashes, too.
        """
        if self.outcome is not None:
            return bool(self.outcome.get("out_of_memory"))
        if self.was_limited and -self.exit_code in (signal.SIGSEGV, signal.SIGABRT):
            return True
        return self.exit_code == -signal.SIGKILL or "bad_alloc" in self.tail

    @property
    def error(self) -> str:
        """Why there is no result, in one line."""
        if self.exit_code < 0:
            how = f"killed by {signal.Signals(-self.exit_code).name}"
        else:
            how = f"exit code {self.exit_code}"
        said = (self.outcome or {}).get("error")
        lines = self.tail.strip().splitlines() if said is None else []
        return ": ".join([how, *([said] if said else []), *lines[-1:]])


def evaluate(
    entry: Entry, batch_size: int, memory_gib: float, log: Path, say: Callable[[str], None]
) -> Row:
    """Evaluates a network with `batch_size` images per tower, or as many as the memory holds.

    Raises:
        Stopped: a signal asked to stop.
        DataError: the log cannot be written.
    """
    while True:
        attempt = _attempt(entry, batch_size, memory_gib, log)
        if attempt.result is not None or not attempt.ran_out_of_memory or batch_size == 1:
            return _row(entry, batch_size, attempt)
        say(f"{entry.source}: out of memory with a batch of {batch_size}: trying {batch_size // 2}")
        batch_size //= 2


def _attempt(entry: Entry, batch_size: int, memory_gib: float, log: Path) -> Attempt:
    environment = dict(os.environ)
    places = [str(installation.IMPORTED_FROM), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        result_file = Path(folder) / "result.json"
        stack.enter_context(files.write_errors(log, "make room, or give another --output"))
        output = stack.enter_context(log.open("ab"))
        argv = [*entry.argv, f"--batch_size={batch_size}"]
        output.write(f"\n==> {' '.join(argv)}\n".encode(errors="backslashreplace"))
        output.flush()
        started, beginning = time.monotonic(), output.tell()
        stop = stack.enter_context(StopSignal())
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", installation.module("benchmarks.bulk.child")),
                *(str(result_file), str(memory_gib), *argv),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=process.end_with_parent(),
        )
        _wait(child, stop)
        seconds = time.monotonic() - started
        outcome = json.loads(result_file.read_text()) if result_file.exists() else None
    with log.open("rb") as written:
        written.seek(max(beginning, written.seek(0, os.SEEK_END) - _TAIL_BYTES))
        tail = written.read().decode(errors="replace")
    return Attempt(outcome, child.returncode, seconds, tail, was_limited=memory_gib > 0)


def _wait(child: subprocess.Popen, stop: StopSignal) -> None:
    """Waits for the end of a process; ends it if a signal asks for a stop."""
    try:
        while child.poll() is None and not stop.requested:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_POLL_SECS)
        if stop.requested:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_PATIENCE_SECS)
            raise Stopped(f"stopped by {stop.requested}; the same command continues")
    finally:
        child.kill()
        child.wait()


def _row(entry: Entry, batch_size: int, attempt: Attempt) -> Row:
    result = attempt.result
    size, seconds = str(batch_size), f"{attempt.seconds:.1f}"
    if result is None:
        name = os.path.basename(os.path.normpath(entry.source))
        error = attempt.error
        if attempt.ran_out_of_memory:
            error = f"out of memory even with a batch of 1: {error}"
        return Row(name, entry.source, entry.words, batch_size=size, seconds=seconds, error=error)
    return Row(
        name=result["model"],
        source=entry.source,
        flags=entry.words,
        checkpoint=result["checkpoint"],
        weights=result["weights"],
        image_size=str(result["image_size"]),
        batch_size=size,
        examples=str(result["examples"]),
        top_1=f"{result['top_1']:.6f}",
        top_5=f"{result['top_5']:.6f}",
        parameters=str(result["parameters"]),
        madds=str(result["madds"]),
        images_per_sec=f"{result['images_per_sec']:.1f}",
        seconds=seconds,
    )
