"""The process that a command runs in: its environment, TensorFlow's start, signals and cores."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from types import FrameType

from common.errors import Stopped

# A training step allocates and frees the same hundreds of megabytes every time. glibc returns such
# memory to the kernel at once, and the kernel clears every page of it again in the next step.
# Keeping it, in huge pages, made EfficientNet-Lite0 on small images 1.3 to 1.4 times as fast on two
# cores (8.9 million page faults became 0.2 million). No tensor changes by it.
ALLOCATOR = "GLIBC_TUNABLES"
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_DEFAULTS = {
    ALLOCATOR: ":".join(
        f"glibc.malloc.{name}={value}"
        for name, value in {
            "hugetlb": 1,  # madvise(MADV_HUGEPAGE), where the kernel leaves it to the program
            "mmap_threshold": 32 << 20,  # the largest that glibc accepts
            "trim_threshold": 8 << 30,
            "top_pad": 64 << 20,
            "arena_max": 2,
        }.items()
    ),
    _LOG_LEVEL: "2",
}


def restart_with_defaults() -> None:
    """Restarts this program with the variables above; those that are set already stay as they are.

    Only for the top of an entry point: it replaces the process, which keeps its id.
    """
    if ALLOCATOR in os.environ or not sys.platform.startswith("linux"):
        return
    environment = {**_DEFAULTS, **os.environ}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


# oneDNN is on, the machine has no CUDA, two libraries register the same factory. The lines begin
# with 2026-01-31 12:00:00.000000: I, or with I0000 00:00:1700000000.000000 after a warning.
_STARTUP_MESSAGE = re.compile(
    rb"WARNING: All log messages before absl|"
    rb"(\d{4}-\d\d-\d\d .*: [IWE] |[IWE]\d{4} )"
    rb".*\b(port|cpu_feature_guard|cudart_stub|cuda_(blas|dnn|fft|platform))\.cc:"
)


@contextlib.contextmanager
def quiet_startup() -> Iterator[None]:
    """Removes TensorFlow's start-up messages from what the block writes to stderr.

    TensorFlow prints them when it is imported and when it first looks for devices, at any log
    level. All other lines appear when the block ends. TF_CPP_MIN_LOG_LEVEL=0 shows everything.
    """
    if os.environ.setdefault(_LOG_LEVEL, _DEFAULTS[_LOG_LEVEL]) == "0":
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not _STARTUP_MESSAGE.match(line)))


def start_tensorflow() -> None:
    """Imports TensorFlow and looks for devices, without its start-up messages."""
    with quiet_startup():
        import tensorflow as tf

        tf.constant(0)  # looks for the devices


class StopSignal:
    """A context in which SIGTERM and SIGINT set `requested`, to be polled between steps.

    A second signal ends the process at once.
    """

    def __init__(self):
        self.requested: str | None = None
        self._previous: dict = {}

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            # The first request is being served, or something hangs: do not wait for it again.
            os._exit(Stopped.exit_code)
        self.requested = signal.Signals(number).name


def num_cores() -> int:
    """Returns the number of cores that this process may use; on macOS, of all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
