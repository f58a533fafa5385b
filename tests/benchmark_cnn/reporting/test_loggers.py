"""--log_to: records of an interrupted and resumed run, read back by the libraries themselves."""

from __future__ import annotations

import importlib.util
import json
import math
import struct

import pytest

from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting.loggers import JSON_FILE, STATE_FILE, Loggers
from common.errors import UsageError

PARAMETERS = {"model": "lenet", "learning_rate": 0.1, "image_size": None, "num_gpus": 2}
RESULT = {"global_step": 30, "top_1": 0.75, "weights": "raw", "images_per_sec": 10.0}
# As metrics.csv has them after the resume: step 15 was logged twice, with the same values.
LOSSES = {5: 3.0, 10: 2.5, 15: 2.25, 20: math.nan, 25: 1.5, 30: 1.25}
ACCURACIES = {10: 0.25, 20: 0.5, 30: 0.75}


def log_steps(loggers, first, last):
    for step in range(first, last + 1, 5):
        loggers.log(
            step, {"total_loss": LOSSES[step], "aux_cross_entropy": None, "epoch": step / 10}
        )
        if step in ACCURACIES:
            loggers.log(step, {"epoch": step / 10, "eval_top_1": ACCURACIES[step]})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was killed after step 15, whose last checkpoint is of step 10."""
    directory = tmp_path_factory.mktemp("loggers") / "run"
    directory.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        # Nobody answers there: whoever needs the network fails.
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        patch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        with Loggers("wandb,mlflow,json", directory) as loggers:
            loggers.start(0, PARAMETERS)
            log_steps(loggers, 5, 15)
        with Loggers("wandb,mlflow,json", directory, logged_step=15) as loggers:
            loggers.start(10, {**PARAMETERS, "learning_rate": 0.2})
            log_steps(loggers, 15, 30)
            loggers.finish(RESULT)
    return directory


def test_json_has_a_line_for_each_report_and_each_step_once(run):
    lines = [json.loads(line) for line in (run / JSON_FILE).read_text().splitlines()]
    assert [line["event"] for line in lines if line["event"] != "report"] == [
        "start", "evaluation", "start", "evaluation", "evaluation", "end",
    ]  # fmt: skip
    losses = {line["global_step"]: line["total_loss"] for line in lines if "total_loss" in line}
    assert losses == {**LOSSES, 20: None}
    assert len([line for line in lines if line["event"] == "report"]) == len(LOSSES)
    found = {line["global_step"]: line["eval_top_1"] for line in lines if "eval_top_1" in line}
    assert found == ACCURACIES
    assert lines[0]["parameters"] == {"model": "lenet", "learning_rate": 0.1, "num_gpus": 2}
    assert lines[-1] == {"event": "end", **RESULT}


def test_mlflows_client_reads_one_run(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    client = MlflowClient((run.parent / "mlruns").as_uri())
    (experiment,) = client.search_experiments(filter_string="name != 'Default'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "run"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"model": "lenet", "learning_rate": "0.1", "num_gpus": "2"}
    assert found.data.tags["resumed.learning_rate"] == "0.2"
    history = client.get_metric_history(found.info.run_id, "total_loss")
    assert [metric.step for metric in history] == list(LOSSES)
    for metric in history:
        assert metric.value == pytest.approx(LOSSES[metric.step], nan_ok=True)
    history = client.get_metric_history(found.info.run_id, "eval_top_1")
    assert {metric.step: metric.value for metric in history} == ACCURACIES
    assert found.data.metrics["final_top_1"] == 0.75


def records_of(path):
    """The messages of a .wandb file: LevelDB's log format, in blocks of 32 KiB, after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[import-not-found]

    content, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def items(entries):
    return {
        entry.key or ".".join(entry.nested_key): json.loads(entry.value_json) for entry in entries
    }


def test_wandbs_messages_are_those_of_one_run(run):
    losses, accuracies, ids, config, summary = {}, {}, set(), {}, {}
    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2  # one for each start; `wandb sync` joins them by their name
    for path in files:
        for record in records_of(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.add((record.run.run_id, record.run.display_name))
                config |= items(record.run.config.update)
            elif kind == "history":
                row = items(record.history.item)
                if "total_loss" in row:
                    assert row["global_step"] not in losses
                    losses[row["global_step"]] = row["total_loss"]
                if "eval_top_1" in row:
                    accuracies[row["global_step"]] = row["eval_top_1"]
            elif kind == "summary":
                summary |= items(record.summary.update)
    assert len(ids) == 1
    assert next(iter(ids))[1] == "run"
    assert {name: losses[name] for name in LOSSES if name != 20} == {
        step: loss for step, loss in LOSSES.items() if step != 20
    }
    assert math.isnan(float(losses[20]))
    assert accuracies == ACCURACIES
    assert config["model"] == "lenet"
    assert summary["final_top_1"] == 0.75


def test_a_logger_that_fails_is_given_up_and_the_others_go_on(tmp_path, caplog, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "run").mkdir()
    (tmp_path / "mlruns").write_text("no directory")
    with Loggers("mlflow,json", tmp_path / "run") as loggers:
        loggers.start(0, PARAMETERS)
        log_steps(loggers, 5, 10)
        loggers.finish(RESULT)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "--log_to=mlflow failed" in warnings[0].getMessage()
    assert len((tmp_path / "run" / JSON_FILE).read_text().splitlines()) == 5


def test_a_list_of_records_that_cannot_be_written_ends_nothing(tmp_path, caplog):
    (tmp_path / STATE_FILE).mkdir()
    with Loggers("json", tmp_path) as loggers:
        loggers.start(0, PARAMETERS)
        log_steps(loggers, 5, 5)
        loggers.finish(RESULT)
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "log_to.json: Is a directory; a resumed run will not" in warning.getMessage()
    assert len((tmp_path / JSON_FILE).read_text().splitlines()) == 3


def test_a_torn_line_is_removed_and_a_finished_run_writes_nothing(tmp_path):
    path = tmp_path / JSON_FILE
    path.write_text('{"event": "report", "global_step": 5}\n{"event": "rep')
    with Loggers("json", tmp_path) as loggers:
        loggers.finish(RESULT)
    assert path.read_text().endswith("rep")
    with Loggers("json", tmp_path) as loggers:
        loggers.start(5, {})
        loggers.log(10, {"total_loss": 1.0})
        loggers.rewind(5)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["report", "start"]
    with Loggers("json", None) as nothing:  # another worker than the chief
        nothing.start(0, {})
        nothing.log(1, {"total_loss": 1.0})


def test_a_missing_library_is_named_with_its_package(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mlflow" else find(name)
    )
    with pytest.raises(UsageError) as caught:
        make_params(log_to="json,mlflow", train_dir="x")
    assert str(caught.value) == (
        "--log_to=json,mlflow needs mlflow, which is not installed: pip install mlflow-skinny"
    )
    for value in ("tensorboard", "json,json", ""):
        with pytest.raises(UsageError, match="--log_to="):
            make_params(log_to=value, train_dir="x")
    with pytest.raises(UsageError, match="no effect without --train_dir"):
        make_params(log_to="json")
