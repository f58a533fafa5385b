"""Progress of a conversion: images, images/s, MB/s and the time left."""

from __future__ import annotations

import time

from common.progress import ProgressLine, clock


class ConversionProgress:
    """Prints the progress to standard output; a context manager."""

    def __init__(self) -> None:
        self._line = ProgressLine()
        self.log = self._line.log
        self._num_images = self._num_bytes = 0
        self._total_images = self._total_bytes = 0
        self._started = 0.0

    def __enter__(self) -> ConversionProgress:
        return self

    def __exit__(self, *_) -> None:
        self._line.clear()

    def download(self, num_bytes: int, total_bytes: int | None) -> None:
        """Shows how much of a file has arrived; `total_bytes` is None if unknown."""
        total = f" of {total_bytes / 1e6:,.1f}" if total_bytes else ""
        self._line.show(f"{num_bytes / 1e6:,.1f}{total} MB", is_last=num_bytes == total_bytes)

    def start(self, num_images: int, num_bytes: int) -> None:
        """Sets what there is to read, and starts the clock."""
        self._total_images, self._total_bytes = num_images, num_bytes
        self._started = time.monotonic()
        self._line.restart()
        self.log(f"converting {num_images:,} images, {num_bytes / 1e6:,.1f} MB")

    def advance(self, num_images: int, num_bytes: int) -> None:
        """Adds what was read since the last call."""
        self._num_images += num_images
        self._num_bytes += num_bytes
        seconds = max(time.monotonic() - self._started, 1e-9)
        # Bytes, not images, are what takes the time.
        left = (self._total_bytes / max(self._num_bytes, 1) - 1) * seconds
        self._line.show(
            f"{self._num_images:,} of {self._total_images:,} images, "
            f"{self._num_images / seconds:,.0f} images/s, "
            f"{self._num_bytes / 1e6 / seconds:,.0f} MB/s, {clock(left)} left"
        )
