"""A progress bar below the printed lines, on a terminal only."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from benchmark_cnn.reporting import console

# Drawing takes a few milliseconds of Python; twice a second leaves the measured speed alone.
_REFRESHES_PER_SEC = 2
_BYTES_PER_GIB = 2**30


class RemainingTime:
    """When a run ends, from the steps of this process alone.

    Neither the steps made before a resume nor the first call, which compiles, says how fast the
    run is now. Evaluations and checkpoints count in, since they come again.
    """

    def __init__(self, total_steps: int, clock: Callable[[], float] = time.perf_counter):
        self.total_steps = total_steps
        self._clock = clock
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)

    def observe(self, step: int) -> None:
        """Note that `step` steps are done now."""
        self._last = (step, self._clock())
        if self._first is None:
            self._first = self._last

    def secs(self) -> float | None:
        """Seconds left; None until two observations have told the speed."""
        if self._first is None or self._last[0] <= self._first[0]:
            return None
        secs_per_step = (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])
        return max(self.total_steps - self._last[0], 0) * secs_per_step


class ProgressBar:
    """A context in which a bar shows step, time left, images/s, data wait and memory.

    Where the stream is no terminal it prints nothing. Lines of `console.log` appear above it.

    Args:
      total_steps: the step at which the run ends.
      initial_step: the step at which this process starts, more than 0 when resumed.
      gpu_memory_bytes: asked at each update; None shows no GPU memory.
      stream: where to draw, stdout by default.
    """

    def __init__(
        self,
        total_steps: int,
        initial_step: int = 0,
        *,
        gpu_memory_bytes: Callable[[], int] | None = None,
        stream: TextIO | None = None,
    ):
        self._total_steps = total_steps
        self._initial_step = initial_step
        self._gpu_memory_bytes = gpu_memory_bytes
        self._stream = stream
        self._remaining = RemainingTime(total_steps)
        self._stack = contextlib.ExitStack()
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        stream = self._stream or sys.stdout
        if not is_terminal(stream):
            return self
        self._bar = _make_bar(stream)
        status = memory_text(process_memory_bytes())
        self._task = self._bar.add_task(
            "", total=self._total_steps, completed=self._initial_step, status=status
        )
        self._stack.enter_context(self._bar)
        self._stack.enter_context(console.routed_through(self._print_above))
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()
        self._bar = None

    def update(
        self,
        step: int,
        images_per_sec: float | None = None,
        data_wait_share: float | None = None,
    ) -> None:
        """Show that `step` steps are done, and the speed of late."""
        self._remaining.observe(step)
        if self._bar is None:
            return
        gpu_bytes = self._gpu_memory_bytes() if self._gpu_memory_bytes else None
        status = status_text(
            remaining_secs=self._remaining.secs(),
            images_per_sec=images_per_sec,
            data_wait_share=data_wait_share,
            memory=memory_text(process_memory_bytes(), gpu_bytes),
        )
        self._bar.update(self._task, completed=step, status=status)

    def _print_above(self, line: str) -> None:
        from rich.segment import Segment, Segments

        # A segment is printed as it is: rich would turn tabs into spaces and break long lines.
        self._bar.console.print(Segments([Segment(f"{line}\n")]), crop=False, end="")


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches `stream` on something that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def status_text(
    *,
    remaining_secs: float | None,
    images_per_sec: float | None,
    data_wait_share: float | None,
    memory: str,
) -> str:
    """What stands to the right of the bar, the most wanted first."""
    parts = []
    if remaining_secs is not None:
        parts.append(f"{duration_text(remaining_secs)} left")
    if images_per_sec is not None and not math.isnan(images_per_sec):
        parts.append(f"{images_per_sec:.1f} images/s")
    if data_wait_share is not None and not math.isnan(data_wait_share):
        parts.append(f"data wait {data_wait_share:.0%}")
    return " | ".join([*parts, memory])


def memory_text(process_bytes: int, gpu_bytes: int | None = None) -> str:
    text = f"memory {process_bytes / _BYTES_PER_GIB:.1f} GiB"
    if gpu_bytes is not None:
        text += f", GPU {gpu_bytes / _BYTES_PER_GIB:.1f} GiB"
    return text


def duration_text(seconds: float) -> str:
    """3725 -> "1:02:05"; with the days in front when there are any."""
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hours}:{minutes:02}:{secs:02}"


def process_memory_bytes() -> int:
    """Memory that this process has in RAM; at its highest where the system tells no more."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else highest * 1024


def _make_bar(stream: TextIO):
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.table import Column

    return Progress(
        TextColumn("{task.completed:.0f}/{task.total:.0f}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=6)),
        TaskProgressColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[status]}", table_column=Column(no_wrap=True), markup=False),
        console=Console(file=stream),
        refresh_per_second=_REFRESHES_PER_SEC,
        expand=True,
        # The printed lines say all that should stay.
        transient=True,
        # Messages on stderr go above the bar, unless they were sent elsewhere.
        redirect_stderr=sys.stderr.isatty(),
    )
