"""One conversion at a time in a data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from download_and_convert_imagenet.file_errors import naming

_FILE = "lock"


class DirectoryLockedError(Exception):
    """Another process holds the directory; the message is one line."""

    exit_code = 3


@contextlib.contextmanager
def locked_directory(directory: Path, lock_dir: Path) -> Iterator[None]:
    """Hold a data directory while the block runs.

    The system lets go of it when the process ends, however it ends: there is no stale lock.

    Args:
        directory: named in the message, made when missing.
        lock_dir: where the lock file is, made when missing.

    Raises:
        DirectoryLockedError: another process holds it.
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)  # first: an error names what the caller named
    lock_dir.mkdir(parents=True, exist_ok=True)
    path = lock_dir / _FILE
    with path.open("a+b", buffering=0) as file:
        with naming(path):
            _hold(file, directory)
        yield


def _hold(file: FileIO, directory: Path) -> None:
    """Lock an open file until it is closed, and write down who did."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        process = file.read().decode("ascii", "replace").strip()
        raise DirectoryLockedError(
            f"another conversion is writing to {directory} (process {process}): "
            "wait for it, or stop it first"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()).encode())
