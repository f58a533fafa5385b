"""Progress of a conversion: a line that is rewritten on a terminal, a line at times elsewhere."""

from __future__ import annotations

import shutil
import sys
import time

from common import commands

_SECONDS_BETWEEN_UPDATES = 0.2
_SECONDS_BETWEEN_LINES = 10.0
_CLEAR_LINE = "\r\x1b[K"


class ConversionProgress:
    """Prints images, images/s, MB/s and the time left to standard output; a context manager."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._line = ""  # shown on the terminal now
        self._num_images = self._num_bytes = 0
        self._total_images = self._total_bytes = 0
        self._started = self._last_update = 0.0

    def __enter__(self) -> ConversionProgress:
        return self

    def __exit__(self, *_) -> None:
        self._clear()

    def log(self, text: str) -> None:
        """Prints a line that stays."""
        self._clear()
        commands.write_line(text)

    def download(self, num_bytes: int, total_bytes: int | None) -> None:
        """Shows how much of a file has arrived; `total_bytes` is None if unknown."""
        total = f" of {total_bytes / 1e6:,.1f}" if total_bytes else ""
        self._update(f"{num_bytes / 1e6:,.1f}{total} MB", is_last=num_bytes == total_bytes)

    def start(self, num_images: int, num_bytes: int) -> None:
        """Sets what there is to read, and starts the clock."""
        self._total_images, self._total_bytes = num_images, num_bytes
        self._started = self._last_update = time.monotonic()
        self.log(f"converting {num_images:,} images, {num_bytes / 1e6:,.1f} MB")

    def advance(self, num_images: int, num_bytes: int) -> None:
        """Adds what was read since the last call."""
        self._num_images += num_images
        self._num_bytes += num_bytes
        seconds = max(time.monotonic() - self._started, 1e-9)
        # Bytes, not images, are what takes the time.
        left = round((self._total_bytes / max(self._num_bytes, 1) - 1) * seconds)
        self._update(
            f"{self._num_images:,} of {self._total_images:,} images, "
            f"{self._num_images / seconds:,.0f} images/s, "
            f"{self._num_bytes / 1e6 / seconds:,.0f} MB/s, "
            f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        )

    def _update(self, text: str, *, is_last: bool = False) -> None:
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

    def _clear(self) -> None:
        if self._line:
            print(_CLEAR_LINE, end="", flush=True)
            self._line = ""
