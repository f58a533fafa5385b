"""A line that is rewritten on a terminal, and printed now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time

from common import commands

_SECONDS_BETWEEN_UPDATES = 0.2
_SECONDS_BETWEEN_LINES = 10.0
_CLEAR_LINE = "\r\x1b[K"


class ProgressLine:
    """The line on standard output; a context manager that removes it."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._line = ""  # shown on the terminal now
        self._last_update = 0.0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_) -> None:
        self.clear()

    def log(self, text: str) -> None:
        """Prints a line that stays."""
        self.clear()
        commands.write_line(text)

    def restart(self) -> None:
        """Waits for the usual time before the next line."""
        self._last_update = time.monotonic()

    def show(self, text: str, *, is_last: bool = False) -> None:
        """Shows a line, unless the last one is recent."""
        now = time.monotonic()
        wait = _SECONDS_BETWEEN_UPDATES if self._is_terminal else _SECONDS_BETWEEN_LINES
        if now - self._last_update < wait and not is_last:
            return
        self._last_update = now
        if self._is_terminal:
            self._line = text[: shutil.get_terminal_size().columns - 1]
            print(f"{_CLEAR_LINE}{self._line}", end="", flush=True)
        else:
            commands.write_line(text)

    def clear(self) -> None:
        """Removes the line."""
        if self._line:
            print(_CLEAR_LINE, end="", flush=True)
            self._line = ""


def clock(seconds: float) -> str:
    """Returns a duration as "1:02:03"."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
