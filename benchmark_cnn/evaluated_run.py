"""The run that an evaluation is of: its parameters, waited for where a training is to begin.

No TensorFlow here: the wait comes before it is imported.
"""

from __future__ import annotations

import os

from benchmark_cnn import run_directory
from benchmark_cnn.errors import DataError, Stopped
from benchmark_cnn.params import PARAMETERS_FILE, Params, read_parameters
from benchmark_cnn.stop_signal import StopSignal


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
    if run_directory.has_begun(train_dir):
        return
    # It imports NumPy, for which --help should not wait.
    from benchmark_cnn import console

    console.log(f"Waiting for a run in {train_dir}")
    with StopSignal() as stop:
        while not run_directory.has_begun(train_dir):
            run_directory.nap(poll_secs, lambda: bool(stop.requested))
            if stop.requested:
                raise Stopped(f"stopped by {stop.requested} while waiting for a run in {train_dir}")
