"""Start the workers of a cluster on this machine: `python -m launch.local --workers=2 -- train.py`.

    python -m launch.local --workers=2 --gpus_per_worker=1 -- train.py --model=resnet50 ...

Every worker is a process, and its lines begin with its number. If one fails, the others are
stopped, the first failure is printed again at the end, and its exit code is the launcher's. Signals
go to every worker: all save, and the launcher exits with 75.

With --parameter_servers=N the workers train asynchronously, and the loss of one stops none of the
others.
"""

from __future__ import annotations

import argparse
import contextlib
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
# The lines of workers that have ended are there at once, unless the machine itself stands still.
_LAST_LINES_SECS = 10
_LAST_LINES = 20


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` and returns the exit code."""
    parser = commands.parser("python -m launch.local", __doc__)
    parser.add_argument("--workers", type=commands.at_least(1), default=2, metavar="N")
    parser.add_argument(
        "--gpus_per_worker", type=commands.at_least(1), default=1, metavar="N",
        help="towers of each worker (1); with --device=cpu in the command, logical CPU devices",
    )  # fmt: skip
    parser.add_argument(
        "--parameter_servers", type=commands.at_least(0), default=0, metavar="N",
        help="processes that hold the variables of asynchronous training; a chief is started, too "
        "(0: the workers are synchronous)",
    )  # fmt: skip
    parser.add_argument(
        "--max_restarts", type=commands.at_least(0), default=0, metavar="N",
        help="start all workers again after a crash or the loss of one, at most N times (0); with "
        "parameter servers, only the worker that was lost",
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
    if options.parameter_servers and options.gpus_per_worker > 1:
        raise UsageError(
            f"--gpus_per_worker={options.gpus_per_worker} with --parameter_servers: a worker of an "
            "asynchronous run has one GPU; start more --workers"
        )
    restarts = _Restarts(options.max_restarts)
    with process.StopSignal() as stop:
        while True:
            started = tasks.on_one_machine(_tasks(options), options.gpus_per_worker, os.environ)
            exit_code = _Workers(started, options.grace_secs, restarts).run(stop)
            if exit_code in _FINAL or stop.requested or not restarts.left:
                return exit_code
            _say(f"starting all workers again ({restarts.take()})")


def _tasks(options: argparse.Namespace) -> list[tasks.Task]:
    """Returns the tasks of a start, at ports that are free now."""
    servers = options.parameter_servers
    ports = process.free_ports(options.workers + servers)
    hosts = [f"127.0.0.1:{port}" for port in ports]
    if servers:
        return tasks.asynchronous(options.command, hosts[:-servers], hosts[-servers:])
    return tasks.workers(options.command, hosts, options.gpus_per_worker)


class _Restarts:
    """How often something may be started again."""

    def __init__(self, most: int):
        self._most, self._used = most, 0

    @property
    def left(self) -> int:
        return self._most - self._used

    def take(self) -> str:
        """Uses one up; returns which one it is, in words."""
        self._used += 1
        return f"{self._used} of {self._most}"


class _Workers:
    """Running workers."""

    def __init__(self, started: Sequence[tasks.Task], grace_secs: float, restarts: _Restarts):
        self._grace_secs = grace_secs
        self._restarts = restarts
        self._output = _Output()
        self._workers = [_Worker(task, self._output) for task in started]
        self._done_without: set[_Worker] = set()

    def run(self, stop: process.StopSignal) -> int:
        """Waits until all have ended; returns the exit code of the first failure, or 0."""
        try:
            failed = self._wait(stop)
        finally:
            self._end_all()
        deadline = time.monotonic() + _LAST_LINES_SECS
        for worker in self._workers:
            worker.join(deadline)
        if failed is None:
            return 0
        code = _exit_code(failed.process)
        if code != Stopped.exit_code:
            _say(f"{failed.task.name} failed first, with {_in_words(failed.process)}")
            for line in failed.why():
                _say(f"  {line}")
        return code

    def _wait(self, stop: process.StopSignal) -> _Worker | None:
        """Returns the worker that failed first, after all have ended; None if none failed."""
        failed, forwarded, deadline = None, False, None
        while None in [worker.process.poll() for worker in self._workers]:
            if self._output.is_broken:
                raise BrokenPipeError
            if stop.requested and not forwarded:
                forwarded = True
                self._signal_all(signal.Signals[stop.requested])
            if failed is None and not forwarded:
                self._do_without_the_lost()
            if failed is None and (failed := self._first_failure()) is not None and not forwarded:
                self._signal_all(signal.SIGTERM)
                deadline = time.monotonic() + self._grace_secs
            if deadline is not None and time.monotonic() > deadline:
                self._end_all()
            time.sleep(_POLL_SECS)
        return failed or self._first_failure(wait=False)

    def _first_failure(self, wait: bool = True) -> _Worker | None:
        """Returns a worker that failed by itself rather than because another one was gone."""
        # What was found by the last look at all of them; one that is lost now is looked at later.
        required = self._required()
        failed = [worker for worker in required if worker.process.returncode not in (None, 0)]
        if not failed:
            return None
        deadline = time.monotonic() + (_CAUSE_SECS if wait else 0)
        while True:
            for worker in required:
                if worker.process.poll() not in (None, 0, ClusterError.exit_code):
                    return worker
            if time.monotonic() >= deadline:
                return failed[0]
            time.sleep(_POLL_SECS)

    def _required(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker not in self._done_without]

    def _do_without_the_lost(self) -> None:
        """Starts workers again that the others do not need to go on, or does without them."""
        for place, worker in enumerate(self._workers):
            code = worker.process.returncode
            stopped = code == Stopped.exit_code
            lost = worker.task.is_alone and (stopped or code not in (None, *_FINAL))
            others = [other for other in self._required() if other is not worker]
            # The end of a chief or of a server takes the workers along.
            needed = [other for other in others if not other.task.is_alone]
            if not lost or worker in self._done_without or _have_ended(needed, _CAUSE_SECS):
                continue
            how = f"{worker.task.name} failed, with {_in_words(worker.process)}"
            if self._restarts.left and not stopped:
                _say(f"{how}: starting it again ({self._restarts.take()})")
                self._workers[place] = _Worker(worker.task, self._output)
            elif any(other.task.is_alone for other in others):
                _say(f"{how}: the others go on without it")
                self._done_without.add(worker)

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
        self.task = task
        self._label = str(task.index) if task.job == "worker" and not task.is_alone else task.name
        try:
            self.process = subprocess.Popen(
                task.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **task.environment},
                start_new_session=True,  # the launcher passes Ctrl-C on, once
                preexec_fn=process.end_with_parent(),
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
            output.write(target, f"[{self._label}] {text}\n")

    def join(self, deadline: float) -> None:
        """Waits until its last lines are printed; a process that it left behind may hold them."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

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


def _have_ended(workers: Sequence[_Worker], seconds: float) -> bool:
    """Waits for so long; returns whether one of them has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if any(worker.process.poll() is not None for worker in workers):
            return True
        time.sleep(_POLL_SECS)
    return False


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
