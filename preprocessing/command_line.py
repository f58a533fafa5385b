"""What the commands of this package (`python -m preprocessing.verify` and others) share."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable
from typing import IO

# 2026-01-31 12:00:00.000000: I tensorflow/..., I0000 00:00:1700000000.000000 ..., and the notice
# that the lines of the second kind come with.
_CHATTER = re.compile(rb"\d{4}-\d\d-\d\d .*: [IWE] |[IWE]\d{4} |WARNING: All log messages before")


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
