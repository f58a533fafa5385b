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
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from absl import logging

from benchmark_cnn import checkpoint_commit
from benchmark_cnn.errors import DataError, UsageError

_LOCK_FILE = ".lock"
_LONGEST_NAP_SECS = 1.0
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
        from benchmark_cnn import checkpoints

        return checkpoints.latest(self.path)

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
                checkpoint_commit.finish_interrupted(directory)
        if fresh and run.holds_a_run():
            raise UsageError(
                f"{run.path} already holds a run: leave out --fresh to resume it, or give another "
                "--train_dir"
            )
        yield run


def wait_for_new_checkpoint(
    directory: str | os.PathLike[str],
    after_step: int | None,
    timeout_secs: float | None,
    poll_secs: float = 10.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> str | None:
    """Wait for a whole checkpoint of a later step than the last one evaluated.

    Args:
      directory: where another process trains; it need not exist yet.
      after_step: step in the name of the last one evaluated, None before the first.
      timeout_secs: how long to wait; None is for ever, 0 looks once.
      poll_secs: time between two looks.
      should_stop: asked at every look, and every second between; true ends the wait.

    Returns:
      Prefix of the newest such checkpoint; None when the time is over or `should_stop` said so.
    """
    from benchmark_cnn import checkpoints

    deadline = None if timeout_secs is None else time.monotonic() + timeout_secs
    reported: set[str] = set()
    while not should_stop():
        for prefix in reversed(checkpoints.all_checkpoints(directory)):
            if after_step is not None and checkpoints.step_in_name(prefix) <= after_step:
                break
            reason = checkpoints.verify(prefix)
            if reason is None:
                return prefix
            # One that training has deleted meanwhile is not damaged.
            if os.path.exists(f"{prefix}.index") and reason not in reported:
                logging.warning("checkpoint %s is damaged and skipped: %s", prefix, reason)
                reported.add(reason)
        wait_secs = poll_secs if deadline is None else min(poll_secs, deadline - time.monotonic())
        if wait_secs <= 0:
            return None
        if nap(wait_secs, should_stop):
            return None
    return None


def has_begun(directory: str | os.PathLike[str]) -> bool:
    """Whether a training has left its parameters there, or another program a checkpoint."""
    run = RunDirectory(Path(directory))
    return run.parameters.exists() or any(run.path.glob("*.index"))


def nap(secs: float, should_stop: Callable[[], bool]) -> bool:
    """Wait, but not on when `should_stop`, asked every second between, is true; whether it was."""
    while secs > 0:
        nap_secs = min(secs, _LONGEST_NAP_SECS)
        time.sleep(nap_secs)
        secs -= nap_secs
        if secs > 0 and should_stop():
            return True
    return False


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
