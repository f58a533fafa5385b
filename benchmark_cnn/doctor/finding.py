"""What an examination finds."""

from __future__ import annotations

from typing import NamedTuple

OK, PROBLEM, MISSING = "ok", "problem", "missing"


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        status: OK, PROBLEM (training runs, but slower or not everywhere) or MISSING.
        value: what was found.
        advice: what to do; empty if there is nothing to do.
    """

    name: str
    value: str
    status: str = OK
    advice: str = ""
