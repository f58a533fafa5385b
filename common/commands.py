"""What the commands of this package (`python -m preprocessing.verify` and others) share.

What commands print to: names that are no text, and readers that are gone.

Numbers on the command lines of this package.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable

from common.errors import RunError

# As shells have them.
_INTERRUPTED = 128 + signal.SIGINT
_PIPE_CLOSED = 128 + 13  # SIGPIPE, which Windows has not


def at_least(smallest: int) -> Callable[[str], int]:
    """The type of a command line's whole number that is `smallest` or more."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{value}: must be {smallest} or more")
        return value

    return number


def above_zero(text: str) -> float:
    """The type of a command line's number that is larger than zero and finite."""
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0 and finite")
    return value


def exit_code_of(command: Callable[[], int]) -> int:
    """What a command returns; bad data and Ctrl-C are a line, a reader that is gone is nothing.

    What cannot be written in the encoding of the output, as bytes of a name that are no text, is
    escaped.
    """
    escape_what_is_no_text()
    try:
        exit_code = command()
        sys.stdout.flush()
        return exit_code
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        leave_to_nobody()
        return _PIPE_CLOSED


def escape_what_is_no_text() -> None:
    """Have a byte of a name that is no text printed as an escape, where streams are strict."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave_to_nobody() -> None:
    """After a BrokenPipeError, as `| head` gives it: Python's flush at the end has a reader."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def positive(text: str) -> int:
    """A `type` for argparse: a whole number above 0."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def report_and_exit_code(error: BaseException, debug: bool) -> int:
    """Print what a person needs to know of `error` on stderr; returns the process's exit code.

    An error with an `exit_code` is one that was foreseen: its lines are printed, and with `debug`
    the traceback before them; so is Ctrl-C, before a run takes it for a request to stop. Any other
    is a fault of the program: one line and 1, or with `debug` it is raised again.
    """
    interrupted = _is_interrupt(error)
    exit_code = _INTERRUPTED if interrupted else getattr(error, "exit_code", None)
    if isinstance(exit_code, int):
        if debug:
            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
        text = "interrupted" if interrupted else str(error) or type(error).__name__
        for line in text.split("\n"):
            print(f"error: {line}", file=sys.stderr)
        return exit_code
    if debug:
        raise error
    text = " ".join(str(error).split())
    print(
        f"internal error: {type(error).__name__}: {text}; run again with --debug for the traceback",
        file=sys.stderr,
    )
    return 1


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the bottom of it: C code may make another error of it in an import."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
