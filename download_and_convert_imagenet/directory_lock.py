"""One conversion at a time in a data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

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
    with (lock_dir / _FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise DirectoryLockedError(
                f"another conversion is writing to {directory} (process {file.read().strip()}): "
                "wait for it, or stop it first"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
