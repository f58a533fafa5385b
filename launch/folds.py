"""Cross-validation: a training for each fold, one after the other, and their table.

`train.py --folds=K` comes here. A fold that is finished is not started again, and one that was
stopped resumes: the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import commands, files, paths, process
from common.errors import DataError, RunError, Stopped

TABLE_FILE = "folds.json"
# run.json's results, and their columns.
_COLUMNS = {"top_1": "validation", "test_top_1": "test"}
_SECS_TO_SAVE = 60.0


def train(command: Sequence[str], records: Sequence[Path], train_dir: Path) -> None:
    """Trains a run in `train_dir`/fold_1 and so on, and prints and writes the table of all.

    Args:
        command: program and flags of each run; those that differ are added.
        records: the data of each fold.

    Raises:
        Stopped: a signal; the running fold has saved.
        RunError: a fold has failed; its own error is printed.
    """
    results = []
    for number, data_dir in enumerate(records, start=1):
        directory = train_dir / f"fold_{number}"
        own = (f"--data_dir={data_dir}", f"--train_dir={directory}")
        # These are of the photos, which have become records.
        without = [f"--{name}=None" for name in ("folds", "validation_fraction", "cache_dir")]
        whole = [*command, *own, *without]
        commands.write_line(f"Fold {number} of {len(records)}: {paths.one_line(str(directory))}")
        if _result(directory, whole[2:]) is None:
            _run(whole, directory)
        result = _result(directory, whole[2:])
        if result is None:
            raise DataError(f"{directory}/run.json does not say that the run is finished")
        results.append(result)
    for line in table(results):
        commands.write_line(line)
    with files.write_errors(train_dir / TABLE_FILE):
        files.write_text(train_dir / TABLE_FILE, json.dumps(_summary(results), indent=1) + "\n")


def table(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a line for each fold, and for the mean and the standard deviation of all."""
    columns = {name: title for name, title in _COLUMNS.items() if all(name in r for r in results)}
    lines = [_row("top-1", [*columns.values(), "test images"])]
    for number, result in enumerate(results, start=1):
        cells = [f"{result[name]:.2%}" for name in columns]
        lines.append(_row(f"fold {number}", [*cells, f"{result['test_examples']:,}"]))
    summary = _summary(results)
    total = f"{sum(result['test_examples'] for result in results):,}"
    lines.append(_row("mean", [*(f"{summary[name]['mean']:.2%}" for name in columns), total]))
    spread = [f"{summary[name]['spread']:.2%}" for name in columns]
    return [*lines, _row("spread", spread), "spread: standard deviation of the folds"]


def _summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the results of all folds, their means and their sample standard deviations."""
    summary: dict[str, Any] = {"folds": list(results)}
    for name in _COLUMNS:
        if all(name in result for result in results):
            values = [result[name] for result in results]
            summary[name] = {"mean": statistics.fmean(values), "spread": statistics.stdev(values)}
    return summary


def _row(first: str, cells: Sequence[str]) -> str:
    return f"{first:<10}" + "".join(f"{cell:>14}" for cell in cells)


def _result(directory: Path, flags: Sequence[str]) -> dict[str, Any] | None:
    """Returns the result of a run that was finished with these flags; None for all others."""
    try:
        last = json.loads((directory / "run.json").read_text("utf-8"))["starts"][-1]
        is_done = last["outcome"] == "done" and last["command_line"][1:] == list(flags)
        return last["result"] if is_done and "test_top_1" in last["result"] else None
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _run(command: Sequence[str], directory: Path) -> None:
    """Runs a training; a signal to this process is passed on."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=process.end_with_parent(),
    )
    try:
        code = child.wait()
    except BaseException:  # a signal, or Ctrl-C
        child.terminate()
        try:
            child.wait(_SECS_TO_SAVE)
        except subprocess.TimeoutExpired:
            child.kill()
        raise
    if code == Stopped.exit_code:
        raise Stopped(f"the training in {directory} has stopped; the same command resumes")
    if code:
        failure = RunError(
            f"the training in {directory} has failed, with exit code {code} and the error above; "
            "the same command resumes there"
        )
        failure.exit_code = code if code > 0 else 128 - code
        raise failure
