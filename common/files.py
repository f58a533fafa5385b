"""Files that are whole or absent, directories that are in use once, and errors that name a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from common.errors import DataError, RunError

_BUFFER_BYTES = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], *, per_process: bool = False) -> Iterator[IO[bytes]]:
    """Opens a hidden file that replaces `path` when the block ends.

    A crash at any time leaves the old file or the new one, and an error the old one. The hidden
    file is `.NAME.partial`; a crash may leave it, and the next call overwrites it.

    Args:
        path: a file in a directory that exists.
        per_process: names the hidden file `.NAME.PID.partial`, for files that two processes may
            write at the same time.

    Raises:
        OSError: the file cannot be written; the error names `path`.
    """
    path = Path(path)
    temporary = partial_of(path, os.getpid() if per_process else None)
    try:
        with naming(path):
            with temporary.open("wb", buffering=_BUFFER_BYTES) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # a rename may reach the disk before unflushed data does
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def partial_of(path: Path, process: int | None = None) -> Path:
    """Returns the hidden file next to `path` that `atomic_file` writes."""
    return path.with_name(f".{path.name}{'' if process is None else f'.{process}'}.partial")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a whole text file in UTF-8 by `atomic_file`; a lone surrogate becomes an escape."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def make_writable(directory: Path) -> None:
    """Creates the directory if it is missing; raises OSError if no file can be written there."""
    make_directory(directory)
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"x")
        file.flush()


def make_directory(directory: Path) -> None:
    """Creates the directory and its parents where they are missing.

    Raises:
        OSError: it cannot be created; of a file or a broken link in its place, the text says so.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        place = Path(error.filename)
        subject = "it" if place == directory else f"{place}"
        reason = f"{subject} {why_no_directory(place)}"
        raise NotADirectoryError(errno.ENOTDIR, reason, error.filename) from error


def why_no_directory(path: Path) -> str:
    """Returns what `path` is instead of a directory, a predicate: "does not exist"."""
    if path.exists():
        return "is a file, not a directory"
    if path.is_symlink():
        return f"is a link to {os.readlink(path)}, which does not exist"
    return "does not exist"


@contextlib.contextmanager
def write_errors(
    what: str | os.PathLike[str],
    advice: str | None = None,
    kind: type[RunError] = DataError,
) -> Iterator[None]:
    """Turns an OSError of the block into one line: what cannot be written, why, and what to do.

    Without `advice`, the reason decides: only a full disk needs room.
    """
    try:
        yield
    except OSError as error:
        if advice is None:
            first = "make room" if lacks_room(error) else "mend that or write elsewhere"
            advice = f"{first}, and run the same command again"
        raise kind(f"cannot write {what}: {error.strerror}; {advice}") from error


def lacks_room(error: OSError) -> bool:
    """Returns whether a disk is full, or a limit of space is reached."""
    return error.errno in _NO_ROOM


@contextlib.contextmanager
def lock(path: Path, *, busy: str, advice: str, warn: Callable[[str], object]) -> Iterator[None]:
    """Holds an exclusive lock on the file `path` while the block runs.

    The kernel releases it when the process ends, however it ends: there is no stale lock. The file
    stays, because deleting it would let two processes lock two files of one name.

    Args:
        path: a file in a directory that exists.
        busy: what to say of the process that holds the lock: "another training uses DIR".
        advice: what to do then.
        warn: called with a line on a file system without locks, where the block runs unprotected.

    Raises:
        DataError: another process holds the lock.
        OSError: the file cannot be written.
    """
    with path.open("a+b", buffering=0) as file:
        with naming(path):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().decode("utf-8", "replace").strip()
                raise DataError(f"{busy} ({owner or 'owner unknown'}): {advice}") from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                warn(f"{path.parent} has no file locks: do not start a second process in it")
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        try:
            yield
        finally:
            # A forked child shares the lock: closing the file would leave it held.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)


def sha256_of(path: str | os.PathLike[str], is_stopped: Callable[[], bool] = lambda: False) -> str:
    """Returns the SHA-256 of a file in hexadecimal, of its beginning once `is_stopped`."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while not is_stopped() and (chunk := file.read(_BUFFER_BYTES)):
            digest.update(chunk)
    return digest.hexdigest()


def file_size(path: Path) -> int | None:
    """Returns the size of a file in bytes, None if it does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Makes every OSError of the block name a file; those that name one already keep it.

    The system names a file that cannot be opened, but not one that cannot be read, written or
    closed. Put the block around the `open`, because closing writes what is left in the buffer.
    """
    try:
        yield
    except OSError as error:
        name_file(error, path)
        raise


def name_file(error: OSError, path: str | os.PathLike[str]) -> None:
    """Names the file of one error, where a `naming` block would cost more than the reading.

    Errors that the system did not raise, which have no number, stay as they are.
    """
    if error.errno is not None and error.filename is None:
        error.filename = os.fspath(path)
