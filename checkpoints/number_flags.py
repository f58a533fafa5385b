"""Numbers on the command lines of this package."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A `type` for argparse: a whole number above 0."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
