"""Folders that go wrong on disk, for every user: permissions do not bind root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_NAME = "d" * 250
_MAX_PATH_BYTES = 4096


@contextlib.contextmanager
def folder_too_deep_to_list(parent: Path) -> Iterator[None]:
    """Folders within folders below `parent`, until the path of the last is one Linux refuses."""
    depth = _MAX_PATH_BYTES // len(_NAME) + 1
    descriptors = [os.open(parent, os.O_RDONLY)]
    try:
        for _ in range(depth):
            os.mkdir(_NAME, dir_fd=descriptors[-1])
            descriptors.append(os.open(_NAME, os.O_RDONLY, dir_fd=descriptors[-1]))
        yield
    finally:
        os.close(descriptors.pop())
        while descriptors:
            os.rmdir(_NAME, dir_fd=descriptors[-1])
            os.close(descriptors.pop())
