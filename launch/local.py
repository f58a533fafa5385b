"""Start the workers of a cluster on this machine: `python -m launch.local --workers=2 -- train.py`.

    python -m launch.local --workers=2 --gpus_per_worker=1 -- train.py --model=resnet50 ...

Every worker is a process, and its lines begin with its number. If one fails, the others are
stopped, the first failure is printed again at the end, and its exit code is the launcher's. Signals
go to every worker: all save, and the launcher exits with 75.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import IO

from common import commands, process
from common.errors import ClusterError, DataError, NonFiniteError, Stopped, UsageError
from launch import tasks

# The same command would end in the same way, or was asked to end.
_FINAL = (0, *(e.exit_code for e in (UsageError, DataError, NonFiniteError, Stopped)))
# A worker that lost another one exits at once; the one that caused it may take a little longer.
_CAUSE_SECS = 3
_POLL_SECS = 0.05
_LAST_LINES = 20
_PR_SET_PDEATHSIG = 1


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` and returns the exit code."""
    parser = commands.parser("python -m launch.local", __doc__)
    parser.add_argument("--workers", type=commands.at_least(1), default=2, metavar="N")
    parser.add_argument(
        "--gpus_per_worker", type=commands.at_least(1), default=1, metavar="N",
        help="towers of each worker (1); with --device=cpu in the command, logical CPU devices",
    )  # fmt: skip
    parser.add_argument(
        "--max_restarts", type=commands.at_least(0), default=0, metavar="N",
        help="start all workers again after a crash or the loss of one, at most N times (0)",
    )  # fmt: skip
    parser.add_argument(
        "--grace_secs", type=commands.above_zero, default=40.0, metavar="SECS",
        help="after a failure, how long the other workers may take to save and end (40)",
    )  # fmt: skip
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --: train.py and flags")
    options = parser.parse_args(argv)
    if options.command[:1] == ["--"]:
        del options.command[0]
    return commands.run(lambda: launch(options))


def launch(options: argparse.Namespace) -> int:
    """Starts the workers, again after a loss where that is allowed; returns the exit code."""
    tasks.check_command(options.command)
    with process.StopSignal() as stop:
        for restart in range(options.max_restarts + 1):
            hosts = [f"127.0.0.1:{port}" for port in process.free_ports(options.workers)]
            started = tasks.on_one_machine(
                tasks.workers(options.command, hosts, options.gpus_per_worker),
                options.gpus_per_worker,
                os.environ,
            )
            exit_code = _Workers(started, options.grace_secs).run(stop)
            if exit_code in _FINAL or stop.requested or restart == options.max_restarts:
                return exit_code
            _say(f"starting all workers again ({restart + 1} of {options.max_restarts})")
    return exit_code


class _Workers:
    """Running workers."""

    def __init__(self, started: Sequence[tasks.Task], grace_secs: float):
        self._grace_secs = grace_secs
        self._output = _Output()
        self._workers = [_Worker(task, self._output) for task in started]

    def run(self, stop: process.StopSignal) -> int:
        """Waits until all have ended; returns the exit code of the first failure, or 0."""
        try:
            failed = self._wait(stop)
            for worker in self._workers:
                worker.join()
        finally:
            self._end_all()
        if failed is None:
            return 0
        code = _exit_code(failed.process)
        if code != Stopped.exit_code:
            _say(f"worker {failed.index} failed first, with {_in_words(failed.process)}")
            for line in failed.why():
                _say(f"  {line}")
        return code

    def _wait(self, stop: process.StopSignal) -> _Worker | None:
        """Returns the worker that failed first, after all have ended; None if none failed."""
        failed, forwarded, deadline = None, False, None
        while any(worker.process.poll() is None for worker in self._workers):
            if self._output.is_broken:
                raise BrokenPipeError
            if stop.requested and not forwarded:
                forwarded = True
                self._signal_all(signal.Signals[stop.requested])
            if failed is None and (failed := self._first_failure()) is not None and not forwarded:
                self._signal_all(signal.SIGTERM)
                deadline = time.monotonic() + self._grace_secs
            if deadline is not None and time.monotonic() > deadline:
                self._end_all()
            time.sleep(_POLL_SECS)
        return failed or self._first_failure(wait=False)

    def _first_failure(self, wait: bool = True) -> _Worker | None:
        """Returns a worker that failed by itself rather than because another one was gone."""
        failed = [worker for worker in self._workers if worker.process.poll() not in (None, 0)]
        if not failed:
            return None
        deadline = time.monotonic() + (_CAUSE_SECS if wait else 0)
        while True:
            for worker in self._workers:
                if worker.process.poll() not in (None, 0, ClusterError.exit_code):
                    return worker
            if time.monotonic() >= deadline:
                return failed[0]
            time.sleep(_POLL_SECS)

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.send_signal(number)

    def _end_all(self) -> None:
        """Kills what is left of every worker, with the processes that it started."""
        for worker in self._workers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait()


class _Worker:
    """A worker's process, and the threads that print its lines."""

    def __init__(self, task: tasks.Task, output: _Output):
        self.index = task.index
        try:
            self.process = subprocess.Popen(
                task.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **task.environment},
                start_new_session=True,  # the launcher passes Ctrl-C on, once
                preexec_fn=_end_with_parent(),
            )
        except OSError as error:
            raise UsageError(f"cannot start {task.command[0]}: {error.strerror}") from error
        self._errors: deque[str] = deque(maxlen=_LAST_LINES)
        streams = ((self.process.stdout, sys.stdout), (self.process.stderr, sys.stderr))
        self._threads = [
            threading.Thread(target=self._copy, args=(source, target, output), daemon=True)
            for source, target in streams
        ]
        for thread in self._threads:
            thread.start()

    def _copy(self, source: IO[bytes], target: IO[str], output: _Output) -> None:
        for line in source:
            text = line.decode(errors="backslashreplace").rstrip("\n")
            if target is sys.stderr:
                self._errors.append(text)
            output.write(target, f"[{self.index}] {text}\n")

    def join(self) -> None:
        """Waits until its last lines are printed; a process that it left behind may hold them."""
        for thread in self._threads:
            thread.join(timeout=1)

    def why(self) -> list[str]:
        """Returns its error lines; without any, the last that it wrote to stderr."""
        lines = list(self._errors)
        return [line for line in lines if line.startswith(("error:", "internal error:"))] or lines


class _Output:
    """Standard output and error, written line by line by several threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self.is_broken = False

    def write(self, target: IO[str], line: str) -> None:
        with self._lock:
            try:
                target.write(line)
                target.flush()
            except (OSError, ValueError):  # its reader has gone, as with `| head`
                self.is_broken = True


def _end_with_parent():
    """Returns a function for a new process, which the kernel then ends along with the launcher."""
    if not sys.platform.startswith("linux"):
        return None
    kernel, parent = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return ask


def _exit_code(ended: subprocess.Popen) -> int:
    """Returns the exit code as shells report it."""
    return 128 - ended.returncode if ended.returncode < 0 else ended.returncode


def _in_words(ended: subprocess.Popen) -> str:
    if ended.returncode < 0:
        return f"signal {signal.Signals(-ended.returncode).name}"
    return f"exit code {ended.returncode}"


def _say(line: str) -> None:
    print(f"launch: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
