"""The file to blame: the system names one when it is opened, but not when it is read or written.

One conversion at a time in a data directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from common.errors import DataError


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """An error of the system within the block, also of closing its files, says `path`.

    Around the `open` of a file that is written: what is left in a buffer is written as it closes.
    Blocks may be nested: the innermost is right.
    """
    try:
        yield
    except OSError as error:
        name_file(error, path)
        raise


def name_file(error: OSError, path: str | os.PathLike[str]) -> None:
    """The same for one error, where the block would cost more than the reading.

    An error that names a file already is left alone, and so is one that is not of the system.
    """
    if error.errno is not None and error.filename is None:
        error.filename = os.fspath(path)


_FILE = "lock"


@contextlib.contextmanager
def locked_directory(directory: Path, lock_dir: Path) -> Iterator[None]:
    """Hold a data directory while the block runs.

    The system lets go of it when the process ends, however it ends: there is no stale lock.

    Args:
        directory: named in the message, made when missing.
        lock_dir: where the lock file is, made when missing.

    Raises:
        DataError: another process holds it.
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
        raise DataError(
            f"another conversion is writing to {directory} (process {process}): "
            "wait for it, or stop it first"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()).encode())


def file_size(path: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
