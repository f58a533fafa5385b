"""How far a conversion is: a bar on a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

_SECONDS_BETWEEN_LINES = 10.0


class ConversionProgress:
    """Images, images/s, MB/s and the time that is left; a context manager."""

    def __init__(self) -> None:
        """Write to standard output."""
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._num_images = self._num_bytes = 0
        self._total_images = self._total_bytes = 0
        self._started = self._last_line = 0.0

    def __enter__(self) -> ConversionProgress:
        """Nothing is shown before `start`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        if self._bar is not None:
            self._bar.stop()

    def notice(self, text: str) -> None:
        """A line of text."""
        self._console.print(text, markup=False)
        sys.stdout.flush()

    def download(self, num_bytes: int, total_bytes: int | None) -> None:
        """So much of a file has arrived."""
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES or num_bytes == total_bytes:
            self._last_line = now
            total = f" of {total_bytes / 1e6:,.1f}" if total_bytes else ""
            self.notice(f"{num_bytes / 1e6:,.1f}{total} MB")

    def start(self, num_images: int, num_bytes: int) -> None:
        """So much is to be read from now on."""
        self._total_images, self._total_bytes = num_images, num_bytes
        self._started = self._last_line = time.monotonic()
        self.notice(f"converting {num_images:,} images, {num_bytes / 1e6:,.1f} MB")
        if self._console.is_terminal:
            self._bar = Progress(
                BarColumn(),
                TextColumn("{task.percentage:.0f}%"),
                TextColumn("{task.fields[images]}"),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            # Bytes, not images, are what takes the time.
            self._task = self._bar.add_task("", total=num_bytes, images="", speed="")
            self._bar.start()

    def advance(self, num_images: int, num_bytes: int) -> None:
        """So much more was read."""
        self._num_images += num_images
        self._num_bytes += num_bytes
        now = time.monotonic()
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, completed=self._num_bytes, images=self._images(), speed=self._speed(now)
            )
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            self.notice(f"{self._images()}, {self._speed(now)}, {self._time_left(now)} left")

    def _images(self) -> str:
        return f"{self._num_images:,} of {self._total_images:,} images"

    def _speed(self, now: float) -> str:
        seconds = max(now - self._started, 1e-9)
        megabytes = self._num_bytes / 1e6
        return f"{self._num_images / seconds:,.0f} images/s, {megabytes / seconds:,.0f} MB/s"

    def _time_left(self, now: float) -> str:
        remaining = self._total_bytes - self._num_bytes
        seconds = round(remaining * (now - self._started) / max(self._num_bytes, 1))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
