"""Disks that fail, simulated by the kernel: a full one, and one with a bad sector."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No byte can be written: a limit on the size of files stands for a full disk.

    The same calls fail, with EFBIG for ENOSPC; Python ignores the signal that goes with it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def break_sectors(path: Path) -> Path:
    """Put a file at `path` that can be opened, and fails with EIO when it is read.

    The start of a process's memory is such a file: nothing is mapped at address 0.
    """
    path.unlink(missing_ok=True)
    path.symlink_to("/proc/self/mem")
    return path
