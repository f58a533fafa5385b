"""A progress bar below the printed lines, on terminals only."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import sys
from collections.abc import Callable
from typing import Any, TextIO

from benchmark_cnn.reporting import console

# Drawing takes a few milliseconds of Python; twice a second does not affect the measured speed.
_REFRESHES_PER_SEC = 2
# The time left follows the steps of the last 10 minutes, with their evaluations and checkpoints.
# The first call, which compiles, only starts the clock.
_SPEED_PERIOD_SECS = 600
_BYTES_PER_GIB = 2**30


class ProgressBar:
    """A context in which a bar shows step, time left, images/s, data wait and memory.

    It prints nothing if the stream is not a terminal. Lines of `console.log` appear above it.

    Args:
        total_steps: the step at which the run ends.
        initial_step: the step at which this process starts, more than 0 when resumed.
        gpu_memory_bytes: called at each update; None shows no GPU memory.
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
        """Shows that `step` steps are done, and the recent speed."""
        if self._bar is None:
            return
        gpu_bytes = self._gpu_memory_bytes() if self._gpu_memory_bytes else None
        status = status_text(
            images_per_sec=images_per_sec,
            data_wait_share=data_wait_share,
            memory=memory_text(process_memory_bytes(), gpu_bytes),
        )
        self._bar.update(self._task, completed=step, status=status)

    def _print_above(self, line: str) -> None:
        from rich.segment import Segment, Segments

        # A segment is printed unchanged: rich would expand tabs and break long lines.
        self._bar.console.print(Segments([Segment(f"{line}\n")]), crop=False, end="")


def is_terminal(stream: TextIO) -> bool:
    """Returns whether `stream` is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def status_text(
    *,
    images_per_sec: float | None,
    data_wait_share: float | None,
    memory: str,
) -> str:
    """Returns the text to the right of the time left, most important first."""
    parts = []
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


def process_memory_bytes() -> int:
    """Returns the resident memory of this process; its peak on systems without /proc."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else highest * 1024


def _make_bar(stream: TextIO):
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    class Status(TimeRemainingColumn):
        """The time left, once it is known, and the status."""

        def render(self, task: Task) -> Text:
            if task.time_remaining is None:
                return Text(task.fields["status"])
            return Text.assemble(super().render(task), " left | ", task.fields["status"])

    return Progress(
        TextColumn("{task.completed:.0f}/{task.total:.0f}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=6)),
        TaskProgressColumn(table_column=Column(no_wrap=True)),
        Status(elapsed_when_finished=True, table_column=Column(no_wrap=True)),
        console=Console(file=stream),
        refresh_per_second=_REFRESHES_PER_SEC,
        speed_estimate_period=_SPEED_PERIOD_SECS,
        expand=True,
        transient=True,  # the printed lines stay
        # Messages on stderr appear above the bar, unless stderr is redirected.
        redirect_stderr=sys.stderr.isatty(),
    )
