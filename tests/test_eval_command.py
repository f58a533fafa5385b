"""eval.py as a user calls it: one checkpoint, all of them, or each as it appears."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import eval as evaluation
import train
from benchmark_cnn import waiting
from benchmark_cnn.evaluation import Evaluator
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.reporting import console, metrics_log
from checkpoints import store
from inference.classifier import Classifier
from preprocessing import registry
from tests.benchmark_cnn.reporting.event_readers import read_with_slow_loader

ROOT = Path(__file__).resolve().parents[1]
DECAY = "--moving_average_decay=0.9"
NUM_VALIDATION, NUM_TRAIN = 359, 1438  # a fifth of each class of the 1,797 digits, rounded


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of lenet with checkpoints of steps 8, 16 and 24; training evaluated the averages."""
    directory = tmp_path_factory.mktemp("trained")
    argv = [
        "--model=lenet", "--device=cpu", "--num_gpus=2", "--batch_size=16",
        "--data_name=digits", f"--data_dir={directory}/data", f"--train_dir={directory}/run",
        "--num_batches=24", "--eval_every_steps=8", "--learning_rate=0.02", DECAY,
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main(argv) == 0
    return directory / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A copy to write into."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def evaluate(capsys, *argv, code=0):
    """(lines of stdout, lines of stderr)."""
    capsys.readouterr()
    assert evaluation.main(["--device=cpu", *argv]) == code
    written = capsys.readouterr()
    assert "Traceback" not in written.err
    return written.out.splitlines(), written.err.splitlines()


def result_of(directory):
    return json.loads((directory / "eval.json").read_text())


def logged_by_training(run):
    """Step -> (top-1, top-5, loss) of metrics.csv."""
    rows = [r for r in metrics_log.read_rows(run / "metrics.csv") if "eval_top_1" in r]
    return {int(r["global_step"]): (r["eval_top_1"], r["eval_top_5"], r["eval_loss"]) for r in rows}


def test_the_averages_are_evaluated_as_training_evaluated_them(run, trained, capsys):
    """Another process, batch size and number of towers: the same counts."""
    lines, _ = evaluate(capsys, f"--train_dir={run}", DECAY, "--batch_size=50")
    result = result_of(run / "eval")
    top_1, top_5, loss = logged_by_training(run)[24]
    assert (result["top_1"], result["top_5"]) == (top_1, top_5)
    assert result["loss"] == pytest.approx(loss, rel=1e-5)
    assert result["examples"] == NUM_VALIDATION
    assert result["global_step"] == 24
    assert result["checkpoint"] == "model.ckpt-24"
    assert result["model"] == "lenet"
    assert result["weights"] == "moving average"
    assert result["subset"] == "validation"
    assert result["image_size"] == 28
    accuracy = f"Accuracy @ 1 = {top_1:.4f} Accuracy @ 5 = {top_5:.4f} [{NUM_VALIDATION} examples]"
    assert accuracy in lines
    assert "Mode:        evaluation" in lines
    assert f"Result:      {run}/eval/eval.json" in lines
    assert "Running evaluation at global_step 24" in lines
    assert lines[-1] == accuracy  # the console report of the classes comes before it
    check_classes(trained, result, lines)
    of_training = json.loads((run / "classes.json").read_text())
    assert of_training == {name: result[name] for name in of_training}
    assert set(of_training) == {"global_step", "macro_f1", "classes", "confused_pairs"}
    assert (run / "confusion.png").exists()
    assert (run / "eval" / "confusion.png").exists()


def check_classes(run, result, lines):
    """Compares the classes of eval.json, and the lines, with a few lines of NumPy."""
    matrix = confusion_of_classifier(run)
    examples, correct = matrix.sum(axis=1), np.diag(matrix)
    assert [entry["class"] for entry in result["classes"]] == sorted(
        range(10), key=lambda number: (correct[number] / examples[number], number)
    )
    assert {entry["class"]: entry["name"] for entry in result["classes"]}[8] == "eight"
    for entry in result["classes"]:
        number = entry["class"]
        assert (entry["examples"], entry["correct"]) == (examples[number], correct[number])
        assert entry["top_1"] == correct[number] / examples[number]
    off_diagonal = matrix - np.diag(correct)
    pairs = result["confused_pairs"]
    assert [pair["count"] for pair in pairs[:3]] == sorted(off_diagonal.ravel())[:-4:-1]
    assert all(off_diagonal[pair["true"], pair["predicted"]] == pair["count"] for pair in pairs)
    start = lines.index("Top-1 of each class, worst first:")
    worst = result["classes"][0]
    share = f"{worst['correct']} of {worst['examples']}"
    assert lines[start + 1].split() == [f"{worst['top_1']:.2%}", *share.split(), worst["name"]]
    assert lines[start + 11] == "Most confused:"
    pair = pairs[0]
    share = f"{pair['count']} of {pair['examples']}"
    words = f"{share}  {pair['true_name']} taken for {pair['predicted_name']}"
    assert lines[start + 12].strip() == words
    assert len(lines) == start + 16  # three pairs and the accuracy


def confusion_of_classifier(run):
    """[10, 10], by prediction.py's network over the records of the validation split."""
    classifier = Classifier("lenet", run / "model.ckpt-24", weights="ema")
    dataset = registry.open_dataset(DataParams(data_dir=str(run.parent / "data")))
    matrix = np.zeros((10, 10), int)
    for images, labels, is_real in dataset.eval_batches(batch_size=400, image_size=28):
        best = classifier.probabilities(images.numpy()).argmax(axis=1)
        np.add.at(matrix, (labels[is_real].numpy(), best[is_real]), 1)
    return matrix


def test_an_evaluation_says_of_what_and_each_kind_has_its_own_place(run, capsys):
    """The default repeats what training reported; another kind never takes its point or file."""
    top_1, _, loss_of_averages = logged_by_training(run)[24]
    default, _ = evaluate(capsys, f"--train_dir={run}")
    about = (
        f"Evaluating {run}/model.ckpt-24: averaged weights (--moving_average_decay=0: the raw "
        "ones), 359 validation images"
    )
    start = default.index(about)
    assert default[start + 1] == f"Result:      {run}/eval/eval.json"
    assert default[start + 2] == "Running evaluation at global_step 24"
    averaged = result_of(run / "eval")
    assert (averaged["top_1"], averaged["weights"]) == (top_1, "moving average")
    points = read_with_slow_loader(run / "eval")["eval/Accuracy@1"]

    raw, _ = evaluate(capsys, f"--train_dir={run}", "--moving_average_decay=0")
    assert f"Evaluating {run}/model.ckpt-24: raw weights, 359 validation images" in raw
    result = result_of(run / "eval" / "raw")
    assert result["weights"] == "raw"
    assert abs(result["loss"] - loss_of_averages) > 1e-3
    argv = ["--data_subset=train", "--batch_size=100", "--image_size=30", "--dtype=bfloat16"]
    evaluate(capsys, f"--train_dir={run}", *argv)
    other = result_of(run / "eval" / "train-image_size=30-dtype=bfloat16")
    assert (other["examples"], other["dtype"]) == (NUM_TRAIN, "bfloat16")
    assert result_of(run / "eval") == averaged
    assert read_with_slow_loader(run / "eval")["eval/Accuracy@1"] == points
    assert {round(value, 6) for step, value in points if step == 24} == {round(top_1, 6)}


def test_all_checkpoints_in_order(run, capsys):
    # run/eval holds the events of training's own evaluations.
    argv = ["--all_checkpoints", DECAY, f"--eval_dir={run}/again"]
    lines, _ = evaluate(capsys, f"--train_dir={run}", *argv)
    steps = [int(line.split()[-1]) for line in lines if line.startswith("Running evaluation")]
    assert steps == [8, 16, 24]
    events = read_with_slow_loader(run / "again")
    logged = logged_by_training(run)
    for number, name in enumerate(("eval/Accuracy@1", "eval/Accuracy@5", "eval/loss")):
        assert [step for step, _ in events[name]] == [8, 16, 24]
        values = [value for _, value in events[name]]
        assert values == pytest.approx([logged[step][number] for step in steps], rel=1e-5)


def test_what_is_typed_wins_over_the_run(run, capsys, tmp_path):
    lines, _ = evaluate(
        capsys, f"--train_dir={run}/model.ckpt-16", "--data_subset=train", "--batch_size=100",
        "--num_gpus=3", "--image_size=28", f"--eval_dir={tmp_path}/elsewhere",
    )  # fmt: skip
    assert "Batch size:  300 global" in lines
    assert "Devices:     ['/cpu:0', '/cpu:1', '/cpu:2']" in lines
    result = result_of(tmp_path / "elsewhere" / "train")
    assert result["examples"] == NUM_TRAIN
    assert result["subset"] == "train"
    assert result["global_step"] == 16
    assert not (run / "eval" / "eval.json").exists()


def test_watching_evaluates_each_checkpoint_once_and_ends_on_sigterm(
    run, capsys, tmp_path, monkeypatch
):
    """Checkpoints appear one by one, as a training run writes them: the index last."""
    watched = tmp_path / "watched"
    watched.mkdir()
    shutil.copy(run / "parameters.json", watched)
    to_come = [8, 16, 24]
    look, looks = store.all_checkpoints, []

    def count(directory):
        """Stops the watch two looks after it has said that it waits."""
        if any(line.startswith("Waiting") for line in lines):
            looks.append(directory)
        if len(looks) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return look(directory)

    monkeypatch.setattr(store, "all_checkpoints", count)

    def deliver():
        if len(to_come) == 3:  # a run that was stopped may be resumed: the watch waits for it
            outcome = "stopped by SIGTERM at step 8 of 24"
            (watched / "run.json").write_text(json.dumps({"starts": [{"outcome": outcome}]}))
        step = to_come.pop(0)
        for suffix in ("data-00000-of-00001", "json", "index"):
            shutil.copy(run / f"model.ckpt-{step}.{suffix}", watched)

    def on_line(line):
        lines.append(line)
        if line.startswith("Accuracy") and to_come:
            deliver()

    lines: list[str] = []
    deliver()
    with console.routed_through(on_line):
        code = evaluation.main(
            ["--device=cpu", f"--train_dir={watched}", "--eval_interval_secs=0.1", DECAY]
        )
    assert code == 75
    assert "stopped by SIGTERM" in capsys.readouterr().err
    steps = [int(line.split()[-1]) for line in lines if line.startswith("Running evaluation")]
    assert steps == [8, 16, 24]
    assert [line for line in lines if line.startswith("Waiting")] == [
        f"Waiting for a checkpoint after step 24 in {watched}, until the run is done (its last "
        "start ended: stopped by SIGTERM at step 8 of 24)"
    ]
    events = read_with_slow_loader(watched / "eval")
    assert {tuple(step for step, _ in points) for points in events.values()} == {(8, 16, 24)}
    assert result_of(watched / "eval")["global_step"] == 24


def test_a_watch_that_begins_before_the_run_takes_its_parameters(run, capsys, tmp_path):
    """Model and data come from the run's parameters.json, not from flags."""
    later = tmp_path / "later"

    def on_line(line):
        lines.append(line)
        if line == f"Waiting for a run in {later}":
            later.mkdir()
            shutil.copy(run / "parameters.json", later)
            for path in run.glob("model.ckpt-8.*"):
                shutil.copy(path, later)
        elif line.startswith("Accuracy"):
            os.kill(os.getpid(), signal.SIGTERM)

    lines: list[str] = []
    argv = ["--device=cpu", f"--train_dir={later}", "--eval_interval_secs=0.1"]
    with console.routed_through(on_line):
        assert evaluation.main(argv) == 75
    assert result_of(later / "eval")["model"] == "lenet"
    assert result_of(later / "eval")["examples"] == NUM_VALIDATION


def test_a_watch_ends_when_the_run_is_done(run, capsys):
    """run.json says so; the newest checkpoint was evaluated before."""
    lines, _ = evaluate(capsys, f"--train_dir={run}", "--eval_interval_secs=600")
    assert [line for line in lines if line.startswith("Running")] == [
        "Running evaluation at global_step 24"
    ]
    assert not [line for line in lines if line.startswith("Waiting")]
    assert result_of(run / "eval")["global_step"] == 24


def delete_checkpoint(run, step):
    for path in run.glob(f"model.ckpt-{step}.*"):
        path.unlink()


def test_a_checkpoint_that_training_deletes_meanwhile_is_skipped(run, capsys, caplog):
    """--all_checkpoints lists them at its start."""

    def on_line(line):
        if line.startswith("Accuracy"):
            delete_checkpoint(run, 16)
        elif line.startswith("Running evaluation"):
            steps.append(int(line.split()[-1]))

    steps: list[int] = []
    with console.routed_through(on_line):
        assert evaluation.main(["--device=cpu", f"--train_dir={run}", "--all_checkpoints"]) == 0
    assert steps == [8, 24]
    assert caplog.text.count("model.ckpt-16 was deleted by the training run") == 1


def test_nothing_is_left_when_training_deletes_all(run, capsys, monkeypatch):
    find = store.all_checkpoints

    def find_and_delete(directory):
        found = find(directory)
        for step in (8, 16, 24):
            delete_checkpoint(run, step)
        return found

    monkeypatch.setattr(store, "all_checkpoints", find_and_delete)
    _, errors = evaluate(capsys, f"--train_dir={run}", "--all_checkpoints", code=3)
    assert errors[-1] == f"error: no checkpoint in {run} is left to evaluate"


def test_a_checkpoint_that_is_deleted_once_it_was_found_is_skipped(
    run, capsys, caplog, monkeypatch
):
    """Between finding a new checkpoint and reading it."""
    wait, found = waiting.wait_for_new_checkpoint, []
    (run / "run.json").unlink()  # it says that the run is done
    for step in (8, 16):
        delete_checkpoint(run, step)

    def wait_and_delete(*args, **kwargs):
        if found:
            os.kill(os.getpid(), signal.SIGTERM)
        found.append(wait(*args, **kwargs))
        if len(found) == 1:
            delete_checkpoint(run, 24)
        return found[-1]

    monkeypatch.setattr(waiting, "wait_for_new_checkpoint", wait_and_delete)
    evaluate(capsys, f"--train_dir={run}", "--eval_interval_secs=0.1", code=75)
    assert found == [f"{run}/model.ckpt-24", None]
    assert caplog.text.count("model.ckpt-24 was deleted by the training run") == 1


def test_the_wait_for_a_run_is_stopped_by_sigterm(capsys, tmp_path, monkeypatch):
    look, looks = waiting._has_begun, []

    def stop(directory):
        looks.append(directory)
        if len(looks) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return look(directory)

    monkeypatch.setattr(waiting, "_has_begun", stop)
    argv = [f"--train_dir={tmp_path}/later", "--eval_interval_secs=600"]
    assert evaluation.main(argv) == 75
    reported = capsys.readouterr().err
    assert reported == f"stopped by SIGTERM while waiting for a run in {tmp_path}/later\n"
    assert len(looks) == 2


@pytest.mark.slow
def test_a_real_process_that_watches_ends_on_sigterm(run):
    (run / "run.json").unlink()  # it says that the run is done
    with subprocess.Popen(
        [sys.executable, "eval.py", "--device=cpu", f"--train_dir={run}", "--eval_interval_secs=1"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Waiting for a checkpoint after step 24"):
                process.send_signal(signal.SIGTERM)
                break
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 75, errors
    assert "Traceback" not in errors
    assert result_of(run / "eval")["global_step"] == 24


MISTAKES = {
    "nothing to evaluate": ([], 2, "--train_dir is missing"),
    "a run and published weights": (
        ["--train_dir={run}", "--pretrained"],
        2,
        "--pretrained and --train_dir exclude each other",
    ),
    "published weights of a model without": (
        ["--model=lenet", "--pretrained", "--data_name=digits"],
        3,
        "no pretrained weights of lenet are known",
    ),
    "no such run": (
        ["--train_dir={tmp}/none"],
        3,
        "--train_dir={tmp}/none: no such directory or checkpoint",
    ),
    "no such checkpoint": (
        ["--train_dir={run}/model.ckpt-7"],
        3,
        "model.ckpt-8, model.ckpt-16, model.ckpt-24",
    ),
    "a watch of one checkpoint": (
        ["--train_dir={run}/model.ckpt-8", "--eval_interval_secs=60"],
        2,
        "--eval_interval_secs has no effect with --train_dir={run}/model.ckpt-8, which is one "
        "checkpoint; give its directory",
    ),
    "all checkpoints of one": (
        ["--train_dir={run}/model.ckpt-8.index", "--all_checkpoints"],
        2,
        "--all_checkpoints has no effect with --train_dir={run}/model.ckpt-8.index, which is one",
    ),
    "a flag of training's towers": (
        ["--train_dir={run}", "--xla=step"],
        2,
        "--xla is a flag of train.py; eval.py does not have it",
    ),
    "another model": (["--train_dir={run}", "--model=trivial"], 3, "trivial/"),
    "another class count": (
        ["--train_dir={run}", "--num_classes=12"],
        3,
        "lenet/head/dense/kernel",
    ),
    "a flag of training": (["--train_dir={run}", "--momentum=0.5"], 2, "--momentum"),
    "no data of that subset": (
        ["--train_dir={run}", "--data_dir={tmp}", "--data_name=imagenet"],
        3,
        "validation",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_in_one_line(run, tmp_path, capsys, mistake):
    argv, code, text = MISTAKES[mistake]
    places = {"tmp": tmp_path, "run": run}
    _, errors = evaluate(capsys, *(word.format(**places) for word in argv), code=code)
    reported = [line for line in errors if line.startswith("error: ")]
    assert any(text.format(**places) in line for line in reported), errors
    assert not any("internal error" in line for line in errors)


def test_a_flag_file_for_gpus_runs_on_the_cpu(run, tmp_path, capsys):
    (tmp_path / "recipe").write_text("--gpu_indices=0\n--allow_memory_growth\n")
    evaluate(capsys, f"--train_dir={run}", f"--flagfile={tmp_path}/recipe")


def test_a_run_directory_that_cannot_be_written_to(run, capsys):
    """A file in the place of run/eval: permissions do not bind the superuser."""
    shutil.rmtree(run / "eval")
    (run / "eval").touch()
    _, errors = evaluate(capsys, f"--train_dir={run}", code=3)
    assert errors[-1].startswith(f"error: cannot write events to {run}/eval: it is a file, ")
    assert "--eval_dir=DIR" in errors[-1]


def test_a_full_disk_for_the_result(run, tmp_path, capsys):
    (tmp_path / ".eval.json.partial").symlink_to("/dev/full")
    _, errors = evaluate(capsys, f"--train_dir={run}", f"--eval_dir={tmp_path}", code=3)
    assert f"error: cannot write {tmp_path}/eval.json: No space left on device" in errors[-1]


def test_out_of_memory_is_reported_in_one_line(run, capsys, monkeypatch):
    def exhaust(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(Evaluator, "_evaluate_step", exhaust)
    _, errors = evaluate(capsys, f"--train_dir={run}", "--batch_size=9", code=2)
    assert errors[-1] == "error: out of memory in an evaluation with --batch_size=9: lower it"


def test_averages_that_a_run_did_not_keep_are_missed(tmp_path, trained, capsys):
    data = trained.parent / "data"
    with contextlib.redirect_stdout(io.StringIO()):
        argv = ["--model=lenet", "--device=cpu", f"--data_dir={data}", "--batch_size=8"]
        assert train.main([*argv, f"--train_dir={tmp_path}", "--num_batches=1"]) == 0
    _, errors = evaluate(capsys, f"--train_dir={tmp_path}", DECAY, code=3)
    assert any("moving_average_decay" in line for line in errors), errors
