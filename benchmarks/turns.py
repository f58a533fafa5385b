"""Sides of a comparison, each in a process of its own, that work in turn.

TensorFlow's devices and threads are a process's, so that two sides in one process would share what
is to be compared. A round gives every side a few steps while the others wait, the next round begins
with another side, and a ratio is taken within a round: a machine that slows down for a while slows
all sides down.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import time
from collections.abc import Callable, Mapping

Turn = Callable[[], object]


class SideFailed(Exception):
    """A side could not be built or could not finish its turn."""


class Side:
    """A process that calls `make(*arguments)` once and what that returned at every turn."""

    def __init__(self, make: Callable[..., Turn], *arguments):
        ours, theirs = multiprocessing.Pipe()
        processes = multiprocessing.get_context("spawn")
        self._process = processes.Process(
            target=_serve, args=(theirs, make, arguments), daemon=True
        )
        self._process.start()
        self._connection = ours
        theirs.close()

    def begin_turn(self) -> None:
        """Let the side work; `end_turn` waits for it."""
        with contextlib.suppress(OSError):  # end_turn tells of a side that is gone
            self._connection.send("turn")

    def end_turn(self) -> None:
        """Raises SideFailed with the reason where the side could not work."""
        try:
            problem = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise SideFailed(f"ended with exit code {self._process.exitcode}") from None
        if problem:
            raise SideFailed(problem)

    def take_turn(self) -> None:
        """Raises SideFailed with the reason where the side could not work."""
        self.begin_turn()
        self.end_turn()

    def stop(self) -> None:
        """End the process and wait until its memory is free."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection, make: Callable[..., Turn], arguments: tuple) -> None:
    from common import process

    try:
        with process.without_chatter(), contextlib.redirect_stdout(io.StringIO()):
            turn = make(*arguments)
        while _is_asked(connection):
            turn()
            connection.send(None)
    except Exception as error:  # whatever it is, the parent is told, if it is still there
        with contextlib.suppress(OSError):
            connection.send(_one_line(error))


def _is_asked(connection) -> bool:
    """Wait for the next turn; False where the parent has closed the pipe or is gone."""
    try:
        return bool(connection.recv())
    except EOFError:
        return False


def _one_line(error: Exception) -> str:
    """The error's type and, where it has text, the first line of that."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])


def seconds_in_turn(sides: Mapping[str, Side], rounds: int) -> dict[str, list[float]]:
    """How long every side's turn took in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            sides[name].take_turn()
            seconds[name].append(time.perf_counter() - started)
    return seconds
