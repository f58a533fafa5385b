"""Other places for the numbers of metrics.csv: `--log_to=wandb,mlflow,json`.

Each logger is imported only when it is asked for. One that fails is given up with a warning;
training continues. A resumed run continues its record, whose name is in log_to.json.

    json    log.jsonl in the run directory: one line for the start, each report and the end
    mlflow  the server of MLFLOW_TRACKING_URI, else files in `mlruns` beside the run directory
    wandb   offline records in `wandb` in the run directory, unless WANDB_MODE says otherwise
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from absl import logging

from benchmark_cnn.params.values import parse_log_to
from common import files

STATE_FILE, JSON_FILE = "log_to.json", "log.jsonl"
_MLFLOW_EXPERIMENT = "tensorflow_imagenet"
_MOST_LETTERS = 500  # of a parameter's value in MLflow

Values = Mapping[str, Any]


class _Logger(Protocol):
    """A record of one run elsewhere. `values` never hold None, but may hold NaN."""

    def start(self, step: int, parameters: Values) -> str | None:
        """Begins the record, or continues it after `step`; returns its name, to find it again."""
        ...

    def log(self, step: int, values: Values) -> None: ...

    def rewind(self, step: int) -> None:
        """Takes back what was logged after `step`, where that is possible."""
        ...

    def finish(self, result: Values | None) -> None:
        """Ends the record, with the result of a run that has reached its end."""
        ...


class Loggers(contextlib.AbstractContextManager):
    """A context that hands everything to the loggers of `--log_to`.

    Args:
        log_to: the flag; None for no logger.
        directory: the run's; None (another worker than the chief) for no logger.
        logged_step: the last step in metrics.csv, which an earlier start has logged, 0 for none.
    """

    def __init__(self, log_to: str | None, directory: Path | None, logged_step: int = 0):
        names = () if log_to is None or directory is None else parse_log_to(log_to)
        self._directory = directory
        self._logged_step = logged_step
        self._state = {} if directory is None else _read_state(directory)
        self._unopened: dict[str, _Logger] = {}
        self._open: dict[str, _Logger] = {}
        self._done: dict[str, int] = {}
        for name in names:
            assert directory is not None
            make = {"json": _Json, "mlflow": _MLflow, "wandb": _Wandb}[name]
            self._unopened[name] = make(directory, self._state.get(name))

    def __exit__(self, *_) -> None:
        self._each(lambda logger: logger.finish(None))
        self._open.clear()

    def start(self, step: int, parameters: Values) -> None:
        """Begins the records of a run that starts or resumes at `step`."""
        shown = _present(parameters)
        self._open, self._unopened = self._unopened, {}
        continued = {name for name in self._open if name in self._state}
        for name, logger in list(self._open.items()):
            self._try(name, lambda logger=logger, name=name: self._note(name, logger, step, shown))
        if self._directory is not None and self._open:
            self._keep_state(self._directory / STATE_FILE)
        # What cannot be taken back is not logged twice: a resumed run repeats the same values.
        self._done = {name: self._logged_step if name in continued else 0 for name in self._open}
        self._done["json"] = 0

    def log(self, step: int, values: Values) -> None:
        """Logs the values of a report or of an evaluation, as metrics.csv has them."""
        shown = _present(values)
        for name, logger in list(self._open.items()):
            done = self._done[name]
            if step > done or (step == done and _is_evaluation(values)):
                self._try(name, lambda logger=logger: logger.log(step, shown))

    def rewind(self, step: int) -> None:
        """Takes back what was logged after `step`, where a logger can."""
        self._each(lambda logger: logger.rewind(step))

    def finish(self, result: Values) -> None:
        """Logs the result of a run that has reached its end, and closes the records."""
        shown = _present(result)
        self._each(lambda logger: logger.finish(shown))
        self._open.clear()

    def _keep_state(self, path: Path) -> None:
        """Writes the names of the records; a run needs none of them."""
        try:
            files.write_text(path, json.dumps(self._state) + "\n")
        except OSError as error:
            reason = error.strerror
            logging.warning("%s: %s; a resumed run will not continue its records", path, reason)

    def _note(self, name: str, logger: _Logger, step: int, parameters: Values) -> None:
        found = logger.start(step, parameters)
        if found is not None:
            self._state[name] = found

    def _each(self, call: Callable[[_Logger], None]) -> None:
        for name, logger in list(self._open.items()):
            self._try(name, lambda logger=logger: call(logger))

    def _try(self, name: str, call: Callable[[], None]) -> None:
        """Calls; gives up a logger that fails, since a run needs none of them."""
        try:
            call()
        except Exception as error:
            line = (str(error) or repr(error)).splitlines()[0]
            logging.warning("--log_to=%s failed (%s); training continues without it", name, line)
            self._open.pop(name, None)


class _Json:
    """Lines of JSON for other programs; NaN and infinities are null."""

    def __init__(self, directory: Path, known: str | None):
        del known
        self._path = directory / JSON_FILE

    def start(self, step: int, parameters: Values) -> None:
        self.rewind(step)
        self._write("start", {"global_step": step, "parameters": dict(parameters)})

    def log(self, step: int, values: Values) -> None:
        event = "evaluation" if _is_evaluation(values) else "report"
        self._write(event, {"global_step": step, **values})

    def rewind(self, step: int) -> None:
        """Removes the lines of later steps, and the torn last line of a killed process."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["global_step"] <= step]
        if len(kept) < len(lines):
            files.write_text(self._path, "".join(kept))

    def finish(self, result: Values | None) -> None:
        if result is not None:
            self._write("end", dict(result))

    def _write(self, event: str, values: dict) -> None:
        plain = {name: _json_number(value) for name, value in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **plain}) + "\n")


class _MLflow:
    def __init__(self, directory: Path, known: str | None):
        self._directory, self._run_id = directory, known
        self._client: Any = None

    def start(self, step: int, parameters: Values) -> str:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # Its files are what needs no server; without this, version 3.17 refuses to write them.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        store = (self._directory.resolve().parent / "mlruns").as_uri()
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or store)
        if self._run_id is None:
            self._run_id = self._new_run()
        else:
            self._client.update_run(self._run_id, status="RUNNING")
        self._log_parameters(self._run_id, parameters)
        return self._run_id

    def _new_run(self) -> str:
        experiment = self._client.get_experiment_by_name(_MLFLOW_EXPERIMENT)
        number = (
            self._client.create_experiment(_MLFLOW_EXPERIMENT)
            if experiment is None
            else experiment.experiment_id
        )
        name = self._directory.resolve().name
        tags = {"train_dir": str(self._directory.resolve())}
        return self._client.create_run(number, run_name=name, tags=tags).info.run_id

    def _log_parameters(self, run_id: str, parameters: Values) -> None:
        """Logs parameters; those that a resume has changed are tags, since MLflow keeps the first.

        Sixty at a time: a batch takes a hundred.
        """
        from mlflow.entities import Param

        known = self._client.get_run(run_id).data.params
        texts = {name: str(value)[:_MOST_LETTERS] for name, value in parameters.items()}
        new = [Param(name, text) for name, text in texts.items() if name not in known]
        for first in range(0, len(new), 60):
            self._client.log_batch(run_id, params=new[first : first + 60])
        for name, text in texts.items():
            if known.get(name, text) != text:
                self._client.set_tag(run_id, f"resumed.{name}", text)

    def log(self, step: int, values: Values) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def rewind(self, step: int) -> None:
        """Does nothing: MLflow keeps every value of a step."""

    def finish(self, result: Values | None) -> None:
        if result is not None:
            step = int(result["global_step"])
            self.log(step, {f"final_{n}": v for n, v in result.items() if _is_number(v)})
        self._client.set_terminated(self._run_id, "KILLED" if result is None else "FINISHED")


class _Wandb:
    def __init__(self, directory: Path, known: str | None):
        self._directory, self._id = directory, known
        self._run: Any = None

    def start(self, step: int, parameters: Values) -> str:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        # Neither console nor machine is recorded: run.json describes them.
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "tensorflow_imagenet"),
            dir=str(self._directory),
            id=self._id,
            name=self._directory.resolve().name,
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            resume="allow",
            config=dict(parameters),
            settings=settings,
        )
        self._run.define_metric("global_step")
        self._run.define_metric("*", step_metric="global_step")
        return self._run.id

    def log(self, step: int, values: Values) -> None:
        self._run.log({"global_step": step, **values}, step=step)

    def rewind(self, step: int) -> None:
        """Does nothing: W&B has no steps but later ones."""

    def finish(self, result: Values | None) -> None:
        if result is not None:
            self._run.summary.update({f"final_{name}": value for name, value in result.items()})
        self._run.finish(exit_code=int(result is None))


def _read_state(directory: Path) -> dict[str, str]:
    try:
        state = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
        return {str(name): str(found) for name, found in state.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _present(values: Values) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _is_evaluation(values: Values) -> bool:
    return any(name.startswith("eval_") for name in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
