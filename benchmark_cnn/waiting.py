"""The run that an evaluation is of: its parameters, waited for where a training is to begin.

No TensorFlow here: the wait comes before it is imported.
"""

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


def parameters(params: Params, typed: frozenset[str]) -> Params | None:
    """What the run of `params.checkpoint.train_dir` was trained with; None beside foreign weights.

    With `--eval_interval_secs` the run may begin later than its evaluation. Its parameters are
    waited for, unless `typed` has the model: then the checkpoints to come may be foreign.

    Raises:
      DataError: no such directory or checkpoint, or a damaged parameters.json.
      Stopped: SIGTERM or SIGINT while waiting.
    """
    train_dir, poll_secs = params.checkpoint.train_dir or ".", params.evaluation.eval_interval_secs
    if poll_secs and "model" not in typed:
        _wait_for_run(train_dir, poll_secs)
    watches = poll_secs > 0
    is_directory = watches or os.path.isdir(train_dir)
    directory = train_dir if is_directory else os.path.dirname(train_dir) or "."
    if os.path.exists(os.path.join(directory, PARAMETERS_FILE)):
        return read_parameters(directory)
    if not (watches or os.path.exists(train_dir) or os.path.exists(f"{train_dir}.index")):
        raise DataError(f"--train_dir={train_dir}: no such directory or checkpoint")
    return None


def _wait_for_run(train_dir: str, poll_secs: float) -> None:
    if has_begun(train_dir):
        return
    # It imports NumPy, for which --help should not wait.
    from benchmark_cnn.reporting import console

    console.log(f"Waiting for a run in {train_dir}")
    with StopSignal() as stop:
        while not has_begun(train_dir):
            nap(poll_secs, lambda: bool(stop.requested))
            if stop.requested:
                raise Stopped(f"stopped by {stop.requested} while waiting for a run in {train_dir}")


_LONGEST_NAP_SECS = 1.0


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
    from checkpoints import store

    deadline = None if timeout_secs is None else time.monotonic() + timeout_secs
    reported: set[str] = set()
    while not should_stop():
        for prefix in reversed(store.all_checkpoints(directory)):
            if after_step is not None and store.step_in_name(prefix) <= after_step:
                break
            reason = store.verify(prefix)
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
