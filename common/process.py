"""Environment that has to be there before a process starts: the C allocator and TensorFlow's log.

A training step allocates and frees the same hundreds of megabytes every time. glibc gives such
memory back to the kernel at once, and the kernel clears every page of it again in the next step.
Keeping it, in huge pages, made EfficientNet-Lite0 on small images 1.3 to 1.4 times as fast on two
cores (8.9 million page faults became 0.2 million). No tensor changes by it.

SIGTERM and SIGINT ask a run to save and stop; a second signal stops it at once.

How many cores there are to work with.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from types import FrameType
from typing import IO

from common.errors import Stopped

ALLOCATOR = "GLIBC_TUNABLES"
_DEFAULTS = {
    ALLOCATOR: ":".join(
        f"glibc.malloc.{name}={value}"
        for name, value in {
            "hugetlb": 1,  # madvise(MADV_HUGEPAGE), where the kernel leaves it to the program
            "mmap_threshold": 32 << 20,  # the largest glibc takes
            "trim_threshold": 8 << 30,
            "top_pad": 64 << 20,
            "arena_max": 2,
        }.items()
    ),
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
# Neither says anything about a run: that oneDNN is on, and that a CPU-only machine has no CUDA.
_CHATTER = re.compile(
    rb"WARNING: All log messages before absl|[IE]\d{4} .*(port|cudart_stub|cuda_platform)\.cc:"
)


def restart_with_defaults() -> None:
    """Start this program anew with the variables above; what is set already is left as it is.

    Only for the top of an entry point: the present process is replaced (same process id).
    """
    if ALLOCATOR in os.environ or not sys.platform.startswith("linux"):
        return
    environment = {**_DEFAULTS, **os.environ}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Leave TensorFlow's start-up lines out of what is written to stderr inside.

    It prints them at every import and first look for devices, whatever its log level. Everything
    else is written when the block ends. TF_CPP_MIN_LOG_LEVEL=0 shows all.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
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
            os.write(2, b"".join(line for line in held if not _CHATTER.match(line)))


SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """A context in which the signals set `requested`, to be polled between steps."""

    def __init__(self):
        self.requested: str | None = None
        self._previous: dict = {}

    def __enter__(self) -> StopSignal:
        for number in SIGNALS:
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
    """Cores that this process may use; macOS does not tell, and gives all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# 2026-01-31 12:00:00.000000: I tensorflow/..., I0000 00:00:1700000000.000000 ..., and the notice
# that the lines of the second kind come with.
_ANY_CHATTER = re.compile(
    rb"\d{4}-\d\d-\d\d .*: [IWE] |[IWE]\d{4} |WARNING: All log messages before"
)


def quiet_tensorflow() -> None:
    """Import TensorFlow and look for devices without the lines that it prints then.

    It writes them to stderr at any log level; with TF_CPP_MIN_LOG_LEVEL=0 they are wanted, and let
    through. A Python error of the import is raised as always, behind what else was written.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        _start_tensorflow()
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            _start_tensorflow()
        except BaseException:
            os.dup2(stderr, 2)
            _print_what_matters(held)
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _start_tensorflow() -> None:
    import tensorflow as tf

    tf.constant(0)  # looks for the devices


def _print_what_matters(held: IO[bytes]) -> None:
    held.seek(0)
    for line in held:
        if not _ANY_CHATTER.match(line):
            os.write(2, line)
