"""What the commands of this package (`python -m preprocessing.verify` and others) share."""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import IO

from download_and_convert_imagenet import standard_streams
from preprocessing.errors import DataError

# 2026-01-31 12:00:00.000000: I tensorflow/..., I0000 00:00:1700000000.000000 ..., and the notice
# that the lines of the second kind come with.
_CHATTER = re.compile(rb"\d{4}-\d\d-\d\d .*: [IWE] |[IWE]\d{4} |WARNING: All log messages before")

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
    standard_streams.escape_what_is_no_text()
    try:
        exit_code = command()
        sys.stdout.flush()
        return exit_code
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        standard_streams.leave_to_nobody()
        return _PIPE_CLOSED


def quiet_tensorflow() -> None:
    """Import TensorFlow and look for devices without the lines that it prints then.

    It writes them to stderr at any log level; with TF_CPP_MIN_LOG_LEVEL=0 they are wanted, and let
    through. A Python error of the import is raised as always, behind what else was written.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        _start_tensorflow()
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            _start_tensorflow()
        except BaseException:
            os.dup2(stderr, 2)
            _print_what_matters(held)
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _start_tensorflow() -> None:
    import tensorflow as tf

    tf.constant(0)  # looks for the devices


def _print_what_matters(held: IO[bytes]) -> None:
    held.seek(0)
    for line in held:
        if not _CHATTER.match(line):
            os.write(2, line)
