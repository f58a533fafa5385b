"""The directory of a run (`--train_dir`): its files, and its lock for one process at a time.

    .lock            held while a process trains here
    parameters.json  the value of every flag
    run.json         class names, data, decided values, versions, devices, git commit
    metrics.csv      one row per step that is reported or evaluated
    curves.png       a plot of metrics.csv
    classes.json     top-1 of each class and the confused pairs of the last evaluation
    confusion.png    a plot of it, of a finished run
    log.jsonl        of --log_to=json; log_to.json and wandb/ belong to the other loggers
    model.ckpt-*     checkpoints, and `checkpoint`, TensorFlow's pointer to the newest
    best/            the best checkpoint by evaluated top-1
    eval/            TensorBoard events of eval.py

TensorFlow is imported only to read a checkpoint, so that a second run on the same directory is
refused at once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from checkpoints import commit
from common import files
from common.errors import UsageError

_LOCK_FILE = ".lock"


@dataclass(frozen=True)
class RunDirectory:
    """Paths of the files of a run. Creating one accesses no file."""

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

    def checkpoint_to_resume(self) -> str | None:
        """Returns the prefix of the newest complete checkpoint, or None if there are none.

        Raises:
            DataError: there are checkpoints and all are damaged.
        """
        from checkpoints import store

        return store.latest(self.path)

    def holds_a_run(self) -> bool:
        """Returns whether there are parameters, metrics or a checkpoint of a run."""
        if not self.path.is_dir():
            return False
        names = [path.name for path in self.path.iterdir()]
        files = {self.parameters.name, self.run_info.name, self.metrics.name}
        return any(name in files or name.endswith(".index") or ".data-" in name for name in names)


@contextlib.contextmanager
def open_for_training(
    train_dir: str | os.PathLike[str], fresh: bool = False
) -> Iterator[RunDirectory]:
    """Creates `train_dir`, locks it until the block ends or the process dies, and cleans it up.

    Args:
        train_dir: a local directory. Of several processes that train together, only the chief
            opens it.
        fresh: refuse a directory that already holds a run, instead of resuming.

    Raises:
        UsageError: it cannot be created or written to, or `fresh` is set and it holds a run.
        DataError: another process trains there.
    """
    run = RunDirectory(Path(train_dir))
    with contextlib.ExitStack() as stack:
        advice = "give a directory that you may write to"
        with files.write_errors(f"to --train_dir={run.path}", advice, UsageError):
            files.make_writable(run.path)
            stack.enter_context(_lock(run.path))
        for directory in (run.path, run.best):
            if directory.is_dir():
                commit.finish_interrupted(directory)
        if fresh and run.holds_a_run():
            raise UsageError(
                f"{run.path} already holds a run: leave out --fresh to resume it, or give another "
                "--train_dir"
            )
        yield run


def _lock(path: Path) -> contextlib.AbstractContextManager[None]:
    return files.lock(
        path / _LOCK_FILE,
        busy=f"another training uses {path}",
        advice="wait for it, stop it, or give another --train_dir",
        warn=logging.warning,
    )
