"""eval.py waits: for a run to start, and for each new checkpoint. It waits without TensorFlow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from absl import logging

from benchmark_cnn.params.params import PARAMETERS_FILE, Params, read_parameters
from benchmark_cnn.run_directory import RunDirectory
from common.errors import DataError, Stopped
from common.process import StopSignal

_POLL_STOP_SECS = 1.0


def load_run_params(params: Params, *, wait: bool) -> Params | None:
    """Loads the parameters of the run to evaluate, or None for weights of another program.

    With `--eval_interval_secs` and `wait` it waits for the run to start. A caller that knows the
    model does not wait: the checkpoints to come may be another program's.

    Raises:
        DataError: no such directory or checkpoint, or a damaged parameters.json.
        Stopped: a signal while waiting.
    """
    train_dir, poll_secs = params.checkpoint.train_dir or ".", params.evaluation.eval_interval_secs
    if poll_secs and wait:
        _wait_for_run(train_dir, poll_secs)
    watches = poll_secs > 0
    is_directory = watches or os.path.isdir(train_dir)
    directory = train_dir if is_directory else os.path.dirname(train_dir) or "."
    if os.path.exists(os.path.join(directory, PARAMETERS_FILE)):
        return read_parameters(directory)
    if not (watches or os.path.exists(train_dir) or os.path.exists(f"{train_dir}.index")):
        raise DataError(f"--train_dir={train_dir}: no such directory or checkpoint")
    return None


def wait_for_new_checkpoint(
    directory: str | os.PathLike[str],
    after_step: int | None,
    *,
    poll_secs: float,
    should_stop: Callable[[], bool],
) -> str | None:
    """Waits for a complete checkpoint of a later step than the last one evaluated.

    The wait ends when run.json says that the run is done: no checkpoint will follow.

    Args:
        directory: where another process trains; it need not exist yet.
        after_step: step in the name of the last one evaluated, None before the first.
        poll_secs: time between two looks at the directory.
        should_stop: called at every look and every second in between; true ends the wait.

    Returns:
        The prefix of the newest such checkpoint; None if the run is done or `should_stop` ended
        the wait.
    """
    from benchmark_cnn.reporting import console, run_record
    from checkpoints import store

    reported: set[str] = set()
    run_info, said = RunDirectory(Path(directory)).run_info, ""
    while not should_stop():
        # Read first: a run that is done by now has saved its last checkpoint before.
        outcome = run_record.last_start(run_info).get("outcome")
        for prefix in reversed(store.all_checkpoints(directory)):
            if after_step is not None and store.step_in_name(prefix) <= after_step:
                break
            reason = store.verify(prefix)
            if reason is None:
                return prefix
            # A checkpoint that the training has just deleted is not damaged.
            if os.path.exists(f"{prefix}.index") and reason not in reported:
                logging.warning("checkpoint %s is damaged and skipped: %s", prefix, reason)
                reported.add(reason)
        if outcome == "done":
            break
        line = console.waiting_line(directory, after_step, outcome)
        if line != said:
            console.log(line)
            said = line
        if sleep_or_stop(poll_secs, should_stop):
            break
    return None


def sleep_or_stop(secs: float, should_stop: Callable[[], bool]) -> bool:
    """Sleeps for `secs`, polling `should_stop` once a second. Returns whether it became true."""
    while secs > 0:
        part = min(secs, _POLL_STOP_SECS)
        time.sleep(part)
        secs -= part
        if secs > 0 and should_stop():
            return True
    return False


def _wait_for_run(train_dir: str, poll_secs: float) -> None:
    if _has_begun(train_dir):
        return
    from benchmark_cnn.reporting import console  # imports NumPy, which would slow --help

    console.log(f"Waiting for a run in {train_dir}")
    with StopSignal() as stop:
        while not _has_begun(train_dir):
            sleep_or_stop(poll_secs, lambda: bool(stop.requested))
            if stop.requested:
                raise Stopped(f"stopped by {stop.requested} while waiting for a run in {train_dir}")


def _has_begun(directory: str | os.PathLike[str]) -> bool:
    """Returns whether a training left its parameters there, or another program a checkpoint."""
    run = RunDirectory(Path(directory))
    return run.parameters.exists() or any(run.path.glob("*.index"))
