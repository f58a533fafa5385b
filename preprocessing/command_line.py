"""What the commands of this package (`python -m preprocessing.verify` and others) share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable


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

    It writes them to stderr at any log level. A Python error of the import is raised as always.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow as tf

        tf.constant(0)  # looks for the devices
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
