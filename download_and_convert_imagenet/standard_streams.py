"""What commands print to: names that are no text, and readers that are gone."""

from __future__ import annotations

import io
import os
import sys


def escape_what_is_no_text() -> None:
    """Have a byte of a name that is no text printed as an escape, where streams are strict."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave_to_nobody() -> None:
    """After a BrokenPipeError, as `| head` gives it: Python's flush at the end has a reader."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
