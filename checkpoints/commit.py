"""Making the files of a checkpoint appear all at once or not at all, whatever kills the process.

The scheme is a redo log made of folder names. A new checkpoint is written in `.saving-<name>` and
flushed to the disk; one rename of that folder to `.committed-<name>` is the commit point; then its
files move into place, the index last, since readers take a checkpoint without an index for absent.
Death before the commit point leaves the old state. Death after it leaves a folder that
`finish_interrupted` moves into place, which also covers a checkpoint that replaces an older one of
the same step. A deletion is marked by `.deleting-<name>` in the same way.

One process at a time may write in a directory (`run_directory.open_for_training` holds the lock).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from absl import logging

_SAVING = ".saving-"
_COMMITTED = ".committed-"
_DELETING = ".deleting-"


@contextlib.contextmanager
def staged(directory: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder whose files go to `directory` when the block ends, all or none.

    Args:
      directory: where the files belong; created when missing.
      name: what is saved, e.g. "model.ckpt-20".

    Raises:
      OSError: the disk is full or the directory unwritable; no file of `directory` was touched
        before the commit point.
    """
    directory.mkdir(parents=True, exist_ok=True)
    finish_interrupted(directory)
    saving = directory / f"{_SAVING}{name}"
    committed = directory / f"{_COMMITTED}{name}"
    try:
        saving.mkdir()
        yield saving
        for path in saving.iterdir():
            flush(path)
        flush(saving)
        os.rename(saving, committed)
    except BaseException:
        shutil.rmtree(saving, ignore_errors=True)
        raise
    _move_into_place(committed)


def finish_interrupted(directory: Path) -> None:
    """Tidy up after a process that died: complete what was committed, drop what was not."""
    for path in sorted(directory.iterdir()):
        if path.name.startswith(_SAVING):
            logging.info("%s: removing what is left of an interrupted save", path)
            shutil.rmtree(path)
        elif path.name.startswith(_COMMITTED):
            logging.info("%s: completing an interrupted save", path)
            _move_into_place(path)
        elif path.name.startswith(_DELETING):
            remove(directory, path.name.removeprefix(_DELETING))


def is_being_moved(directory: Path, name: str) -> bool:
    """Whether the files of `name` are on their way into `directory`, and not yet all there."""
    return (directory / f"{_COMMITTED}{name}").exists()


def remove(directory: Path, name: str) -> None:
    """Delete the checkpoint `name`, its index first, so that no reader finds half of it.

    What cannot be deleted stays, with a warning: a run does not end for want of tidiness.
    """
    marker = directory / f"{_DELETING}{name}"
    belongs = (f"{name}.index", f"{name}.json", f"{name}.data-")
    try:
        marker.mkdir(exist_ok=True)
        paths = [path for path in directory.iterdir() if path.name.startswith(belongs)]
        for path in sorted(paths, key=lambda path: _commit_rank(path, name), reverse=True):
            path.unlink()
        marker.rmdir()
    except OSError as error:
        logging.warning("cannot delete the checkpoint %s: %s", directory / name, error.strerror)


def flush(path: Path) -> None:
    """Have the disk hold what the file or the directory holds (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a directory; they order renames by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _move_into_place(committed: Path) -> None:
    directory, name = committed.parent, committed.name.removeprefix(_COMMITTED)
    flush(directory)
    for path in sorted(committed.iterdir(), key=lambda path: _commit_rank(path, name)):
        os.replace(path, directory / path.name)
    flush(directory)
    committed.rmdir()


def _commit_rank(path: Path, name: str) -> int:
    """Data, manifest, index, and then the files that point at checkpoints."""
    if path.name.startswith(f"{name}.data-"):
        return 0
    return {f"{name}.json": 1, f"{name}.index": 2}.get(path.name, 3)
