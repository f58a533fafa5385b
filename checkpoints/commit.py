"""Makes the files of a checkpoint appear all at once or not at all, whatever kills the process.

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

from common.errors import DataError

_SAVING = ".saving-"
_COMMITTED = ".committed-"
_DELETING = ".deleting-"


@contextlib.contextmanager
def staged(directory: Path, name: str) -> Iterator[Path]:
    """Yields an empty folder whose files go to `directory` when the block ends, all or none.

    Args:
        directory: Where the files belong; created when missing.
        name: What is saved, e.g. "model.ckpt-20".

    Raises:
        DataError: The disk is full or the directory unwritable. No file of `directory` was touched
            before the commit point.
    """
    saving = directory / f"{_SAVING}{name}"
    committed = directory / f"{_COMMITTED}{name}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        finish_interrupted(directory)
        saving.mkdir()
        yield saving
        for path in saving.iterdir():
            flush(path)
        flush(saving)
        os.rename(saving, committed)
        _move_into_place(committed)
    except OSError as error:
        raise DataError(
            f"cannot save {directory / name}: {error.strerror}; earlier checkpoints are untouched. "
            "Make room or give another directory, and run the same command again"
        ) from error
    finally:
        shutil.rmtree(saving, ignore_errors=True)


def finish_interrupted(directory: Path) -> None:
    """Cleans up after a process that died: completes what was committed, drops what was not."""
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
    """Returns whether some files of `name` are still on their way into `directory`."""
    return (directory / f"{_COMMITTED}{name}").exists()


def remove(directory: Path, name: str) -> None:
    """Deletes the checkpoint `name`, its index first, so that no reader finds half of it.

    A failed deletion is logged, not raised: clean-up must not stop training.
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
    """Flushes a file or a directory to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a directory; they order renames by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def flush_uncached(folder: Path) -> None:
    """Flushes the files of `folder`, so that they are read from the disk and not from memory."""
    for path in folder.iterdir():
        flush(path)
        if hasattr(os, "posix_fadvise"):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
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
    """Orders data, checksums, index, and then the files that point at checkpoints."""
    if path.name.startswith(f"{name}.data-"):
        return 0
    return {f"{name}.json": 1, f"{name}.index": 2}.get(path.name, 3)
