"""Exported files have their names only when they are good, whatever ends the process before."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common import files

_STAGE, _OLD = ".exporting-", "old"


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Gives the name of a file or directory to write, which replaces `path` when the block ends.

    After an error what was at `path` is still there. A process that is killed leaves a hidden
    directory, which the next export into the same place removes.
    """
    files.make_writable(path.parent)
    _remove_abandoned(path.parent)
    directory = tempfile.TemporaryDirectory(dir=path.parent, prefix=_STAGE)
    with directory as folder, _locked(folder, optional=True):
        temporary = Path(folder, path.name)
        yield temporary
        _replace(path, temporary)


def _replace(path: Path, temporary: Path) -> None:
    if not path.is_dir():
        temporary.replace(path)
        return
    # A directory is not replaced by renaming another.
    old = temporary.parent / _OLD / path.name
    old.parent.mkdir()
    path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        old.rename(path)
        raise


def _remove_abandoned(directory: Path) -> None:
    """Removes what killed exports left; a SavedModel that was about to be replaced goes back."""
    for folder in directory.glob(f"{_STAGE}*"):
        with contextlib.suppress(OSError), _locked(folder):
            for old in folder.glob(f"{_OLD}/*"):
                if not (directory / old.name).exists():
                    old.rename(directory / old.name)
            shutil.rmtree(folder)


@contextlib.contextmanager
def _locked(folder: str | Path, *, optional: bool = False) -> Iterator[None]:
    """Locks a directory, at most as long as the process lives.

    Args:
        optional: Whether the block also runs where the file system has no such locks, as NFS.

    Raises:
        OSError: Another process holds the lock, or the directory is gone.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not optional:
                raise
        yield
    finally:
        os.close(descriptor)
