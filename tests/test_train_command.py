"""train.py as a user calls it: lines on stdout, one line for each mistake, exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eval as evaluation
import train
from benchmark_cnn.params.params import read_parameters
from benchmark_cnn.reporting import console
from checkpoints import store
from models.pretrained import ensure, published
from tests.imported_libraries import IMPORT_TIME, installed_ones

ROOT = Path(__file__).resolve().parents[1]
LENET = ["--device=cpu", "--model=lenet", "--batch_size=4"]
SPEED = r"images/sec: \d+\.\d \+/- \d+\.\d \(jitter = \d+\.\d\)"


def command(*argv, program=("train.py",), **environment):
    return subprocess.run(
        [sys.executable, *program, *argv],
        cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A data directory, and a run of lenet on it that was trained for one step."""
    directory = tmp_path_factory.mktemp("digits")
    paths = {"data": directory / "data", "run": directory / "run"}
    argv = ["--data_name=digits", f"--data_dir={paths['data']}", f"--train_dir={paths['run']}"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main([*LENET, *argv, "--num_batches=1"]) == 0
    return paths


def test_a_benchmark_prints_the_published_lines():
    """The lines of tf_cnn_benchmarks in their order; tools split step lines at white space."""
    done = command(
        *LENET, "--num_gpus=2", "--num_batches=12", "--num_warmup_batches=2",
        "--print_training_accuracy",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    end_of_header = lines.index("==========")
    header = dict(re.fullmatch(r"(.{13})(.*)", line).groups() for line in lines[:end_of_header])  # type: ignore[union-attr]
    assert {name.strip(): value for name, value in header.items()} == {
        "TensorFlow:": "2.21",
        "Model:": "lenet",
        "Dataset:": "imagenet (synthetic)",
        "Mode:": "training",
        "SingleSess:": "False",
        "Batch size:": "8 global",
        "": "4 per device",
        "Num batches:": "12",
        "Num epochs:": "0.00",
        "Devices:": "['/cpu:0', '/cpu:1']",
        "NUMA bind:": "False",
        "Data format:": "NHWC",
        "Optimizer:": "momentum",
        "Variables:": "replicated",
        "AllReduce:": "pscpu",
    }
    body = lines[end_of_header + 1 :]
    assert body[:5] == [
        "Generating training model",
        "Initializing graph",
        "Running warm up",
        "Done warm up",
        "Step\tImg/sec\ttotal_loss\ttop_1_accuracy\ttop_5_accuracy",
    ]
    steps, closing = body[5:7], body[7:]
    for line, step in zip(steps, (1, 10), strict=True):
        assert re.fullmatch(rf"{step}\t{SPEED}\t\d+\.\d{{3}}\t[01]\.\d{{3}}\t[01]\.\d{{3}}", line)
        tokens = line.split()
        assert len(tokens) == 11
        assert tokens[0] == str(step)
        assert float(tokens[2]) > 0
        assert float(tokens[4]) >= 0
        assert float(tokens[8]) > 0
        assert 0 <= float(tokens[9]) <= float(tokens[10]) <= 1
    assert closing[0] == closing[2] == "-" * 64
    assert re.fullmatch(r"total images/sec: \d+\.\d\d", closing[1])
    assert len(closing) == 3


@pytest.mark.parametrize("program", ["train.py", "eval.py"])
@pytest.mark.parametrize(
    ("flag", "code", "stream", "text"),
    [
        ("--help", 0, "stdout", "--train_dir"),
        ("--batchsize=3", 2, "stderr", "error: unknown flag --batchsize; did you mean --batch_siz"),
    ],
)
def test_help_and_a_wrong_flag_answer_at_once(program, flag, code, stream, text):
    """Libraries take the time: TensorFlow seconds, most others a tenth each."""
    done = command(flag, program=(*IMPORT_TIME, program))
    assert done.returncode == code, done.stderr
    assert text in getattr(done, stream)
    assert installed_ones(done.stderr) <= {"absl", "_distutils_hack"}


MISTAKES = {
    "unknown flag": (["--batchsize=3"], 2, "unknown flag --batchsize; did you mean --batch_size?"),
    "wrong type": (["--num_gpus=two"], 2, "--num_gpus=two is not an integer"),
    "out of range": (["--momentum=1.5"], 2, "--momentum=1.5 must be at least 0 and below 1"),
    "no such choice": (["--optimizer=ftrl"], 2, "--optimizer=ftrl is not one of"),
    "exclusive flags": (["--num_batches=3", "--num_epochs=2"], 2, "exclude each other"),
    "flag without effect": (
        ["--adam_beta1=0.8"],
        2,
        "--adam_beta1 has no effect with --optimizer=momentum; use --optimizer=adam",
    ),
    "unknown model": (["--model=lenett"], 2, "--model=lenett is not one of"),
    "more towers than devices": (["--num_gpus=9"], 2, "--num_gpus=9 on the CPU"),
    "missing data directory": (
        ["--data_dir={tmp}/none", "--data_name=imagenet"],
        3,
        "data directory {tmp}/none does not exist",
    ),
    "empty data directory": (
        ["--data_dir={tmp}/empty", "--data_name=imagenet"],
        3,
        "data directory {tmp}/empty is empty",
    ),
    "unwritable run directory": (
        ["--train_dir={tmp}/file/run", "--num_batches=1"],
        2,
        "cannot write to --train_dir={tmp}/file/run",
    ),
    "too few classes": (
        ["--data_dir={data}", "--num_classes=5"],
        2,
        "--num_classes=5 is less than the 10 classes of digits",
    ),
    "checkpoint of another model": (
        ["--data_dir={data}", "--train_dir={run}", "--model=trivial"],
        3,
        "trivial/",
    ),
    "checkpoint of another class count": (
        ["--data_dir={data}", "--train_dir={run}", "--num_classes=12"],
        3,
        "lenet/head/dense/kernel",
    ),
    "a run where --fresh wants none": (
        ["--data_dir={data}", "--train_dir={run}", "--fresh"],
        2,
        "{run} already holds a run: leave out --fresh to resume it",
    ),
    "published weights of a model without": (
        ["--pretrained", "--num_batches=1"],
        3,
        "no pretrained weights of lenet are known, only of efficientnet_lite0, ",
    ),
    "published weights that no package holds": (
        ["--model=efficientnet_lite3", "--pretrained", "--num_batches=1"],
        3,
        "give it to python -m models.pretrained with --from=FILE",
    ),
    "two kinds of weights to start from": (
        ["--pretrained", "--init_checkpoint={run}"],
        2,
        "--pretrained and --init_checkpoint exclude each other; give one of them",
    ),
    "no checkpoint to start from": (
        ["--init_checkpoint={tmp}/none/ckpt", "--num_batches=1"],
        3,
        "{tmp}/none does not exist",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_in_one_line(digits, tmp_path, capsys, mistake):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    argv, code, text = MISTAKES[mistake]
    places = {"tmp": tmp_path, **digits}
    assert train.main([*LENET, *(word.format(**places) for word in argv)]) == code
    errors = capsys.readouterr().err
    reported = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert any(text.format(**places) in line for line in reported), errors
    assert "Traceback" not in errors
    assert "internal error" not in errors


def test_a_guessed_data_set_is_written_down(digits, tmp_path, capsys):
    """Also in a resumed run; run.json has the command line, and eval.py finds the data."""
    argv = [*LENET, f"--data_dir={digits['data']}", f"--train_dir={tmp_path}"]
    for steps in (1, 2):
        typed = [*argv, f"--num_batches={steps}"]
        assert train.main(typed) == 0, capsys.readouterr().err
        asked = read_parameters(tmp_path).data
        assert (asked.data_dir, asked.data_name) == (str(digits["data"]), "digits")
        starts = json.loads((tmp_path / "run.json").read_text())["starts"]
        assert starts[-1]["command_line"] == ["train.py", *typed]
    assert store.read(tmp_path)["global_step"] == 2
    assert evaluation.main(["--device=cpu", f"--train_dir={tmp_path}"]) == 0
    assert "Dataset:     digits" in capsys.readouterr().out


def test_synthetic_images_stay_without_a_name(tmp_path, capsys):
    assert train.main([*LENET, f"--train_dir={tmp_path}", "--num_batches=1"]) == 0
    assert read_parameters(tmp_path).data.data_name is None
    assert evaluation.main(["--device=cpu", f"--train_dir={tmp_path}"]) == 2
    assert (
        "error: --data_dir is missing: the images to evaluate; the run" in capsys.readouterr().err
    )


def test_a_gpu_where_there_is_none(capsys):
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    assert train.main(["--device=gpu", "--num_gpus=4", "--model=lenet"]) == 2
    assert "error: --device=gpu: TensorFlow sees no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["--debug=true", "--flagfile={tmp}/recipe"])
def test_debug_in_any_writing_shows_the_traceback(written, tmp_path, capsys):
    (tmp_path / "recipe").write_text("--debug\n")
    argv = [*LENET, "--data_dir=/none", "--data_name=imagenet"]
    assert train.main([*argv, written.format(tmp=tmp_path)]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_debug_that_is_taken_back_shows_none(capsys):
    assert train.main([*LENET, "--debug", "--debug=false", "--momentum=x"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("program", ["train.py", "eval.py"])
def test_ctrl_c_while_tensorflow_is_imported(program, tmp_path):
    """A module in its place sends the signal, as a user does."""
    (tmp_path / "tensorflow.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(600)\n"
    )
    argv = [f"--train_dir={tmp_path}", "--model=lenet", "--data_name=imagenet"]
    done = command(*argv, program=(program,), PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_a_flag_file_for_gpus_runs_on_the_cpu(tmp_path, capsys):
    (tmp_path / "recipe").write_text("--gpu_indices=0\n--allow_memory_growth\n")
    argv = [*LENET, f"--flagfile={tmp_path}/recipe", "--num_batches=1"]
    assert train.main(argv) == 0, capsys.readouterr().err


def test_all_mistakes_are_reported_at_once(capsys):
    assert train.main(["--momentum=2", "--batchsize=3", "--num_gpus=x", "--optimizer=no"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    for flag in ("--momentum", "--batchsize", "--num_gpus", "--optimizer"):
        assert sum(flag in line.split(";")[0] for line in lines) == 1, lines


def test_debug_shows_the_traceback_too(tmp_path, capsys):
    assert train.main([*LENET, "--data_dir=/none", "--data_name=imagenet", "--debug"]) == 3
    errors = capsys.readouterr().err
    assert "Traceback" in errors
    assert errors.splitlines()[-1].startswith("error: ")


def test_the_same_command_line_resumes_after_a_signal(digits, tmp_path, capsys):
    argv = [*LENET, f"--data_dir={digits['data']}", f"--train_dir={tmp_path}"]
    argv += ["--num_batches=6", "--display_every=1"]

    def stop(line):
        if line.startswith("2\timages/sec"):
            os.kill(os.getpid(), signal.SIGUSR1)

    with console.routed_through(stop):
        assert train.main(argv) == 75
    reported = capsys.readouterr().err
    assert "stopped by SIGUSR1 at step 2 of 6; the same command resumes from here" in reported
    assert train.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("model.ckpt-2" in line and "step 2" in line for line in lines)
    assert [line.split()[0] for line in lines if "\timages/sec" in line] == ["3", "4", "5", "6"]
    assert store.read(tmp_path)["global_step"] == 6


@pytest.mark.slow
def test_sigterm_to_a_real_process(digits, tmp_path):
    argv = [*LENET, f"--data_dir={digits['data']}", f"--train_dir={tmp_path}"]
    with subprocess.Popen(
        [sys.executable, "train.py", *argv, "--num_batches=100000", "--display_every=1"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("3\timages/sec"):
                process.send_signal(signal.SIGTERM)
                break
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert "Traceback" not in errors
    assert store.read(tmp_path)["global_step"] >= 3


@pytest.mark.slow
def test_a_run_from_published_weights(tmp_path, capsys, monkeypatch):
    """Without a learning rate the weights stay as published; a resumed run does not fetch them."""
    entry = published.get("efficientnet_lite0")
    if not published.is_installed(str(entry.package)):
        pytest.skip(f"{entry.package} is not installed")
    monkeypatch.chdir(tmp_path)
    argv = [
        "--device=cpu", "--model=efficientnet_lite0", "--pretrained", "--data_name=digits",
        "--data_dir=data", "--train_dir=run", "--image_size=32", "--batch_size=8",
        "--learning_rate=0", "--weight_decay=0",
    ]  # fmt: skip
    assert train.main([*argv, "--num_batches=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    prefix = ensure.prefix("efficientnet_lite0")
    assert f"Starting from the weights of {prefix}" in lines
    heads = [f"efficientnet-lite0/head/dense/{name}" for name in ("kernel", "bias")]
    reported = f"It has 1000 classes, the network 10: {', '.join(heads)} keep their initial values"
    assert reported in lines
    weights = store.read(prefix)
    ours = store.read("run")
    assert ours[heads[0]].shape == (1280, 10)
    for name, value in weights.items():
        if name not in heads and "/moving_" not in name:
            np.testing.assert_array_equal(ours[name], value)
    shutil.rmtree("weights")
    assert train.main([*argv, "--num_batches=2"]) == 0
    assert not Path("weights").exists()
    assert store.read("run")["global_step"] == 2
