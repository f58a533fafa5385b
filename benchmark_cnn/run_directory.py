"""The directory of a run (`--train_dir`): one process at a time, what is in it, where it resumes.

    .lock            held while a process trains here
    parameters.json  what was asked
    run.json         versions, devices, git commit
    metrics.csv      one row a report
    curves.png       the same, drawn
    model.ckpt-*     checkpoints, and `checkpoint`, TensorFlow's pointer to the newest
    best/            the best checkpoint by evaluated top-1
    eval/            TensorBoard events of eval.py

TensorFlow is imported only where a checkpoint is read: a second run on the same directory is
refused at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from absl import logging

from checkpoints import commit
from common.errors import DataError, UsageError

_LOCK_FILE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


@dataclass(frozen=True)
class RunDirectory:
    """Paths of everything a run keeps. Making one touches no file."""

    path: Path

    @property
    def parameters(self) -> Path:
        return self.path / "parameters.json"

    @property
    def run_info(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def evaluation(self) -> Path:
        return self.path / "eval"

    def checkpoint_to_resume(self) -> str | None:
        """Prefix of the newest whole checkpoint; None for a run that starts.

        Raises:
          DataError: there are checkpoints and all are damaged.
        """
        from checkpoints import store

        return store.latest(self.path)

    def holds_a_run(self) -> bool:
        """Whether a run was started here: it left its parameters, its metrics or a checkpoint."""
        if not self.path.is_dir():
            return False
        names = [path.name for path in self.path.iterdir()]
        files = {self.parameters.name, self.run_info.name, self.metrics.name}
        return any(name in files or name.endswith(".index") or ".data-" in name for name in names)


@contextlib.contextmanager
def open_for_training(
    train_dir: str | os.PathLike[str], fresh: bool = False
) -> Iterator[RunDirectory]:
    """Create `train_dir`, lock it until the block ends or the process dies, and tidy it.

    Args:
      train_dir: a local directory. Of several processes that train together, only the chief opens
        it.
      fresh: refuse a directory that holds a run already, instead of resuming.

    Raises:
      UsageError: it cannot be made or written to, or `fresh` and it holds a run.
      DataError: another process trains there.
    """
    run = RunDirectory(Path(train_dir))
    _make_writable_directory(run.path)
    with _lock(run.path):
        for directory in (run.path, run.best):
            if directory.is_dir():
                commit.finish_interrupted(directory)
        if fresh and run.holds_a_run():
            raise UsageError(
                f"{run.path} already holds a run: leave out --fresh to resume it, or give another "
                "--train_dir"
            )
        yield run


def _make_writable_directory(path: Path) -> None:
    with _unwritable_in_one_line(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"x")
            file.flush()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the directory's lock. The kernel releases it when the process ends, however it ends.

    The file stays: deleting it would let two processes lock two files of one name.
    """
    with contextlib.ExitStack() as stack:
        with _unwritable_in_one_line(path):
            file = stack.enter_context(open(path / _LOCK_FILE, "a+"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(_in_use(path, owner=_text_of(file))) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logging.warning("%s has no file locks: start one training in it only", path)
        else:
            # A forked child shares the lock; closing our file alone would leave it held.
            stack.callback(fcntl.flock, file, fcntl.LOCK_UN)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _text_of(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()


def _in_use(path: Path, owner: str) -> str:
    by = f" by {owner}" if owner else ""
    return f"another training uses {path}{by}: wait for it, stop it, or give another --train_dir"


@contextlib.contextmanager
def _unwritable_in_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror
        raise UsageError(
            f"cannot write to --train_dir={path}: {reason}; give a directory that you may write to"
        ) from error
