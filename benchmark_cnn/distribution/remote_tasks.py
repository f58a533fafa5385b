"""The servers and workers of an asynchronous run, as their chief sees them.

Each server and each worker listens at its own address until the chief calls. Both keep that
connection: its end is how the chief learns at once that a worker is gone, and how a worker learns
that the run has ended. TensorFlow then listens at the address instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from benchmark_cnn.distribution import roll_call
from benchmark_cnn.distribution.roll_call import Connection
from common.errors import ClusterError, RunError, UsageError

POLL_SECS = 0.2
# A task that says nothing for so long counts as lost; it says something every few seconds.
_SILENCE_SECS = 30
# How long the chief may then take to end in order.
_END_SECS = 10
_CALL_SECS = 1.0
NAMES = {"ps": "parameter server", "worker": "worker"}


@dataclasses.dataclass
class Task:
    """A server or a worker.

    Attributes:
        job: "ps" or "worker".
        address: "host:port".
    """

    job: str
    index: int
    address: str
    connection: Connection | None = None
    is_ready: bool = False
    heard_at: float = 0.0

    def __str__(self) -> str:
        return f"{NAMES[self.job]} {self.index} ({self.address})"

    @property
    def title(self) -> str:
        """Its name at the beginning of a line."""
        text = str(self)
        return text[0].upper() + text[1:]


class RemoteTasks:
    """A context of the chief that waits for all tasks, and then watches them in a thread.

    Args:
        facts: what has to be the same in every process, in words -> JSON value.
        say: prints a line about a worker.

    Attributes:
        asked_to_stop: a signal to a parameter server, in words; None without.
    """

    def __init__(self, tasks: Sequence[Task], facts: Mapping[str, Any], say: Callable[[str], None]):
        self._tasks, self._facts, self._say = list(tasks), dict(facts), say
        self.asked_to_stop: str | None = None
        self._lost: ClusterError | None = None
        self._silent_at: float | None = None  # when a task was found silent, its connection whole
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> RemoteTasks:
        try:
            self._wait_for_all()
        except BaseException as error:
            self._tell_the_end(error)
            raise
        self._thread.start()
        return self

    def __exit__(self, _kind, error: BaseException | None, _traceback) -> None:
        self._ended.set()
        self._thread.join()
        self._tell_the_end(error)
        if self._silent_at is not None and error is self._lost:
            self._leave()

    @property
    def workers_left(self) -> int:
        """The number of workers that are there."""
        return sum(task.is_ready for task in self._tasks if task.job == "worker")

    def check(self, wait_secs: float = 0.0) -> None:
        """Raises ClusterError if the run cannot continue; waits so long for a reason."""
        deadline = time.monotonic() + wait_secs
        while self._lost is None and time.monotonic() < deadline:
            time.sleep(POLL_SECS)
        if self._lost is not None:
            raise self._lost

    def _wait_for_all(self) -> None:
        started = said = time.monotonic()
        while missing := [task for task in self._tasks if not task.is_ready]:
            for task in missing:
                self._join(task)
            now, names = time.monotonic(), ", ".join(map(str, missing))
            if now - started > roll_call.JOIN_SECS:
                raise ClusterError(f"{names} did not start within {roll_call.JOIN_SECS} s")
            if now - said >= roll_call.SAY_EVERY_SECS:
                said = now
                roll_call.say(f"Waiting for {names}, for {now - started:.0f} s so far")
            time.sleep(POLL_SECS)

    def _join(self, task: Task) -> None:
        """Calls a task, or looks for its answer; raises what it refuses with."""
        if task.connection is None:
            try:
                connected = socket.create_connection(roll_call.address(task.address), _CALL_SECS)
            except OSError:
                return
            keep_alive(connected)
            task.connection = Connection(connected)
            call = {"job": task.job, "index": task.index, "facts": self._facts}
            task.connection.send({"call": call})
        answer = task.connection.receive(POLL_SECS)
        if answer is None:
            if task.connection.is_closed():
                self._forget(task)
        elif "refused" in answer:
            self._forget(task)
            raise (UsageError if answer.get("is_usage") else ClusterError)(answer["refused"])
        else:
            task.is_ready, task.heard_at = True, time.monotonic()

    def _watch(self) -> None:
        gone_at: float | None = None
        while not self._ended.wait(POLL_SECS):
            if self._silent_at is not None and time.monotonic() - self._silent_at > _END_SECS:
                self._tell_the_end(self._lost)
                self._leave()
            for task in self._tasks:
                if task.is_ready:
                    self._look_at(task)
                elif task.job == "worker":
                    self._look_for(task)
            if self.workers_left:
                gone_at = None
                continue
            gone_at = gone_at or time.monotonic()
            if time.monotonic() - gone_at > roll_call.JOIN_SECS:
                self._lost = self._lost or ClusterError(
                    f"all workers are gone, for {roll_call.JOIN_SECS} s. Start all again: the run "
                    "resumes from the last checkpoint"
                )

    def _look_at(self, task: Task) -> None:
        connection = task.connection
        assert connection is not None
        message = connection.receive(0.01)
        if message is not None:
            task.heard_at = time.monotonic()
            if "stop" in message and task.job == "ps":
                self.asked_to_stop = f"{message['stop']} to {task}"
        elif connection.is_closed():
            self._forget(task)
            self._say_that_it_is_gone(task)
        elif time.monotonic() - task.heard_at > _SILENCE_SECS:
            self._silent_at = self._silent_at or time.monotonic()
            self._lost = self._lost or ClusterError(
                f"{task} has not answered for {_SILENCE_SECS} s. Start all again: the run resumes "
                "from the last checkpoint"
            )

    def _leave(self) -> NoReturn:
        """Ends this process at once, with the reason.

        Whatever TensorFlow is asked for next may wait for the silent task without end: to close a
        summary writer, for example, it registers a function with every task.
        """
        assert self._lost is not None
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            print(f"error: {self._lost}", file=sys.stderr, flush=True)
        os._exit(self._lost.exit_code)

    def _say_that_it_is_gone(self, task: Task) -> None:
        if task.job == "ps":
            self._lost = self._lost or ClusterError(
                f"{task} is gone, and its variables with it. Start all again: the run resumes "
                "from the last checkpoint"
            )
            return
        left = self.workers_left
        others = f"training goes on with the other {left}" if left else "training waits for it"
        self._say(f"{task.title} is gone: {others}; started again, it joins again")

    def _look_for(self, task: Task) -> None:
        try:
            self._join(task)
        except RunError as error:
            self._say(f"{task.title} cannot join again: {error}")
        if task.is_ready:
            self._say(f"{task.title} is there again")

    @staticmethod
    def _forget(task: Task) -> None:
        if task.connection is not None:
            task.connection.close()
        task.connection, task.is_ready = None, False

    def _tell_the_end(self, error: BaseException | None) -> None:
        """Says why the run ends. The connections end with this process, as TensorFlow's do."""
        code = getattr(error, "exit_code", 1) if error else 0
        text = (str(error) or type(error).__name__).splitlines()[0] if error else ""
        for task in self._tasks:
            if task.connection is not None:
                task.connection.send({"end": code, "why": text})


def keep_alive(connection: socket.socket) -> None:
    """Lets the kernel end a connection whose other side is cut off, after about 30 s."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
