"""A run that was stopped and started again ends with the bits of the run that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark_cnn import run_directory, training
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console, metrics_log
from checkpoints import best, store
from common.errors import Stopped
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES, GLOBAL_BATCH, STEPS_PER_EPOCH, TOTAL_STEPS = 40, 8, 5, 12

MODES = {
    "1 tower": {},
    "2 towers": {"num_gpus": 2},
    # The loss scale doubles every third step: its state matters. Losses change if it is lost.
    "2 towers, float16": {
        "num_gpus": 2,
        "dtype": "float16",
        "fp16_inc_loss_scale_every_n": 2,
        "gradient_clip": 0.5,
        "optimizer": "rmsprop",
    },
}
ONE_TOWER = pytest.param("1 tower", marks=pytest.mark.slow)  # two towers have more to lose
# When the run is stopped: the beginning of the line that it has just printed.
STOPS = {
    "in an epoch": "3\timages/sec",
    "at the end of an epoch": "5\timages/sec",
    "in an evaluation": "Running evaluation at global_step 5",
    "after an evaluation": "Resuming training",
}


class Killed(BaseException):
    """Ends a run where it is, as SIGKILL would: nothing is saved."""


def train(train_dir, *, on_line=None, network=None, **flags):
    """One start of the run; `on_line` sees every line of stdout when it is printed."""
    flags = {
        "learning_rate": 0.05,
        "weight_decay": 0.01,
        "num_batches": TOTAL_STEPS,
        "num_warmup_batches": 0,
        "eval_every_epochs": 1.0,
        "display_every": 1,
        "save_model_steps": 2,
        "moving_average_decay": 0.8,
        **flags,
    }
    flags.setdefault("batch_size", GLOBAL_BATCH // flags.get("num_gpus", 1))
    params = make_params(device="cpu", train_dir=str(train_dir), **flags)
    spec = Spec(network or (lambda: ConvNetwork(batch_norm="tower", dropout=0.3)))
    dataset = ArrayData(*random_examples(EXAMPLES))
    with console.routed_through(on_line or (lambda line: None)):
        return training.train(params, spec, dataset)


def stop_at(beginning, act=lambda: os.kill(os.getpid(), signal.SIGTERM)):
    return lambda line: act() if line.startswith(beginning) else None


def kill():
    raise Killed


def assert_same_end(directory, expected):
    """Equal bits in every tensor of the last checkpoint, equal bytes in metrics.csv, one best."""
    assert_same_checkpoint(directory, expected)
    got, wanted = ((d / "metrics.csv").read_bytes() for d in (directory, expected))
    assert got == wanted
    assert best.best_metrics(directory) == best.best_metrics(expected)


def assert_same_checkpoint(directory, expected):
    tensors, wanted = store.read(directory), store.read(expected)
    assert tensors["global_step"] == wanted["global_step"] == TOTAL_STEPS
    assert tensors.keys() == wanted.keys()
    differing = [name for name in wanted if not np.array_equal(tensors[name], wanted[name])]
    assert not differing


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Mode -> directory of the run that nothing stopped, made when it is first asked for."""
    directories = {}

    def directory(mode):
        if mode not in directories:
            directories[mode] = tmp_path_factory.mktemp("unbroken")
            train(directories[mode], **MODES[mode])
        return directories[mode]

    return directory


@pytest.mark.parametrize("mode", [ONE_TOWER, "2 towers"])
def test_the_unbroken_run_has_something_to_lose(unbroken, mode):
    """Else two runs could be equal because nothing happens in them."""
    tensors = store.read(unbroken(mode))
    rows = metrics_log.read_rows(unbroken(mode) / "metrics.csv")
    losses = [row["total_loss"] for row in rows if "total_loss" in row]
    assert len(set(losses)) == TOTAL_STEPS
    assert [row["global_step"] for row in rows if "eval_loss" in row] == [5, 10, 12]
    assert len({row["eval_loss"] for row in rows if "eval_loss" in row}) == 3
    assert tensors["examples_seen"] == TOTAL_STEPS * GLOBAL_BATCH
    assert not np.allclose(tensors["bn/moving_mean"], 0)
    average = tensors["conv1/kernel/ExponentialMovingAverage"]
    assert not np.allclose(average, tensors["conv1/kernel"], atol=1e-4)


@pytest.mark.parametrize(
    "mode",
    [ONE_TOWER, "2 towers", pytest.param("2 towers, float16", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(stop, marks=pytest.mark.slow) if stop == "at the end of an epoch" else stop
        for stop in STOPS
    ],
)
def test_stopped_and_resumed_equals_unbroken(unbroken, tmp_path, stop, mode):
    with pytest.raises(Stopped, match=r"stopped by SIGTERM at step [35] of 12") as stopped:
        train(tmp_path, on_line=stop_at(STOPS[stop]), **MODES[mode])
    assert stopped.value.exit_code == 75
    at = 3 if stop == "in an epoch" else 5
    assert store.read(tmp_path)["global_step"] == at
    assert train(tmp_path, **MODES[mode])["global_step"] == TOTAL_STEPS
    assert_same_end(tmp_path, unbroken(mode))


@pytest.mark.parametrize("mode", [ONE_TOWER, "2 towers"])
@pytest.mark.parametrize("line", ["7\timages/sec", "Running evaluation at global_step 10"])
def test_killed_and_resumed_equals_unbroken(unbroken, tmp_path, mode, line):
    """Rows of metrics.csv after the last checkpoint are replaced, not repeated."""
    with pytest.raises(Killed):
        train(tmp_path, on_line=stop_at(line, kill), **MODES[mode])
    assert store.read(tmp_path)["global_step"] == (6 if line.startswith("7") else 10)
    train(tmp_path, **MODES[mode])
    assert_same_end(tmp_path, unbroken(mode))


@pytest.mark.parametrize("at", [pytest.param(5, marks=pytest.mark.slow), TOTAL_STEPS])
def test_stopped_again_in_the_evaluation_made_up_for(unbroken, tmp_path, at):
    for _ in range(2):
        with pytest.raises(Stopped, match=f"stopped by SIGTERM at step {at} of 12"):
            train(tmp_path, on_line=stop_at(f"Running evaluation at global_step {at}"))
        assert store.read(tmp_path)["global_step"] == at
    train(tmp_path)
    assert_same_end(tmp_path, unbroken("1 tower"))


@pytest.mark.slow
def test_stopped_at_every_step_equals_unbroken(unbroken, tmp_path):
    for step in range(1, TOTAL_STEPS):
        with pytest.raises(Stopped):
            train(tmp_path, on_line=stop_at(f"{step}\timages/sec"))
    train(tmp_path)
    assert_same_end(tmp_path, unbroken("1 tower"))


@pytest.mark.parametrize(
    "optimizer",
    ["lamb", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adamw", "lion"))],
)
def test_each_optimizer_resumes(tmp_path, optimizer):
    """Slots that were lost would change the weights; those of other optimizers are above."""
    flags = {"optimizer": optimizer, "num_gpus": 2, "moving_average_start_epoch": 0.9}
    train(tmp_path / "whole", **flags)
    with pytest.raises(Stopped):
        train(tmp_path / "resumed", on_line=stop_at("4\timages/sec"), **flags)
    train(tmp_path / "resumed", **flags)
    assert_same_end(tmp_path / "resumed", tmp_path / "whole")


@pytest.mark.slow
def test_several_steps_in_one_call_resume_too(tmp_path):
    flags = {"steps_per_loop": 2, "num_gpus": 2, "display_every": 2}
    train(tmp_path / "whole", **flags)
    with pytest.raises(Stopped):
        train(tmp_path / "resumed", on_line=stop_at("6\timages/sec"), **flags)
    train(tmp_path / "resumed", **flags)
    assert_same_end(tmp_path / "resumed", tmp_path / "whole")


@pytest.mark.parametrize("damage", [pytest.param("one bit", marks=pytest.mark.slow), "cut short"])
def test_a_damaged_newest_checkpoint_is_passed_over(unbroken, tmp_path, caplog, damage):
    with pytest.raises(Stopped):
        train(tmp_path, on_line=stop_at("7\timages/sec"))
    data = tmp_path / "model.ckpt-7.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content if damage == "one bit" else content[:-50])
    caplog.clear()
    train(tmp_path)
    (warning,) = [r.getMessage() for r in caplog.records if "damaged" in r.getMessage()]
    assert "model.ckpt-7 is damaged and skipped" in warning
    assert_same_end(tmp_path, unbroken("1 tower"))


@pytest.mark.slow
def test_a_checkpoint_from_before_skipped_steps_were_counted_in_a_row(unbroken, tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, on_line=stop_at("7\timages/sec"))
    tensors = store.read(tmp_path)
    del tensors["skipped_steps/in_a_row"]
    store.save(tmp_path, 7, tensors)
    train(tmp_path)
    assert_same_end(tmp_path, unbroken("1 tower"))


# As an earlier version saved a run without a loss scale.
CONSTANT_SCALE = {"loss_scale": np.float32(1), "loss_scale/good_steps": np.int64(0)}


@pytest.mark.parametrize("is_earlier", [pytest.param(False, marks=pytest.mark.slow), True])
def test_from_float32_to_float16_starts_with_the_scale_that_was_asked_for(tmp_path, is_earlier):
    with pytest.raises(Stopped):
        train(tmp_path, on_line=stop_at("3\timages/sec"))
    tensors = store.read(tmp_path)
    assert not [name for name in tensors if name.startswith("loss_scale")]
    if is_earlier:
        del tensors["skipped_steps/in_a_row"]
        store.save(tmp_path, 3, {**tensors, **CONSTANT_SCALE})
    train(tmp_path, dtype="float16", fp16_loss_scale=8.0, num_batches=5)
    after = store.read(tmp_path)
    assert (after["loss_scale"], after["loss_scale/good_steps"]) == (8, 2)


def test_a_scale_that_sank_to_one_in_float16_is_kept(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, on_line=stop_at("3\timages/sec"), dtype="float16")
    store.save(tmp_path, 3, {**store.read(tmp_path), **CONSTANT_SCALE})
    train(tmp_path, dtype="float16", fp16_loss_scale=8.0, num_batches=5)
    assert store.read(tmp_path)["loss_scale"] == 1


@pytest.mark.slow
def test_from_two_towers_to_one_with_a_doubled_batch(tmp_path):
    """Synchronized batch norm, so that the mathematics does not depend on the towers."""
    flags = {"network": lambda: ConvNetwork(batch_norm="sync")}
    train(tmp_path / "whole", num_gpus=2, **flags)
    with pytest.raises(Stopped):
        train(tmp_path / "resumed", on_line=stop_at("4\timages/sec"), num_gpus=2, **flags)
    train(tmp_path / "resumed", num_gpus=1, batch_size=GLOBAL_BATCH, **flags)
    got, expected = (
        metrics_log.read_rows(tmp_path / name / "metrics.csv") for name in ("resumed", "whole")
    )
    assert [row.keys() for row in got] == [row.keys() for row in expected]
    for mine, theirs in zip(got, expected, strict=True):
        for name in theirs:
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-5, err_msg=name)


def test_resuming_with_another_batch_size_continues_at_the_same_example(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, on_line=stop_at("3\timages/sec"))
    lines = []
    train(tmp_path, on_line=lines.append, batch_size=4, num_batches=10)
    (warning,) = [line for line in lines if line.startswith("Warning")]
    assert "was 8 and is now 4. Steps are counted, not epochs" in warning
    assert f"step 10, after {(3 * 8 + 7 * 4) / EXAMPLES:.2f} epochs" in warning
    assert store.read(tmp_path)["examples_seen"] == 3 * 8 + 7 * 4
    epochs = [row["epoch"] for row in metrics_log.read_rows(tmp_path / "metrics.csv")]
    assert max(epochs) == (3 * 8 + 7 * 4) / EXAMPLES


def test_a_finished_run_does_nothing_when_started_again_and_says_so(unbroken, tmp_path):
    train(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("model.ckpt-*"))
    lines = []
    result = train(tmp_path, on_line=lines.append)
    assert result["global_step"] == TOTAL_STEPS
    assert {"top_1", "top_5", "loss"} <= result.keys()
    assert any("finished" in line and f"step {TOTAL_STEPS}" in line for line in lines)
    assert not any("nan" in line for line in lines)
    assert sorted(path.name for path in tmp_path.glob("model.ckpt-*")) == names
    assert_same_end(tmp_path, unbroken("1 tower"))


def test_a_longer_run_continues_from_the_finished_one(unbroken, tmp_path):
    """A constant learning rate does not know the run's length, so that the runs must agree."""
    train(tmp_path, num_batches=10)
    train(tmp_path)
    assert_same_end(tmp_path, unbroken("1 tower"))


def test_a_resumed_run_says_where_it_continues(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, on_line=stop_at("3\timages/sec"))
    lines = []
    train(tmp_path, on_line=lines.append, num_batches=4)
    assert any("model.ckpt-3" in line and "step 3" in line for line in lines)
    assert not any(line.startswith("Warning") for line in lines)


# --- a real process and SIGKILL ------------------------------------------------------------------


# train.py, which kills itself once it has printed a line of step 7.
KILLS_ITSELF = """
import os, signal, sys
from common import process
process.restart_with_defaults()  # as the script does: some variables change how the CPU rounds
import train
from benchmark_cnn.reporting import console

def write(line):
    print(line, flush=True)
    if line.startswith("7\\timages/sec"):
        os.kill(os.getpid(), signal.SIGKILL)

with console.routed_through(write):
    sys.exit(train.main(sys.argv[1:]))
"""


def run_process(data_dir, train_dir, program=("train.py",)):
    return subprocess.run(
        [
            sys.executable, *program, "--model=lenet", "--data_name=digits",
            f"--data_dir={data_dir}", f"--train_dir={train_dir}", "--device=cpu", "--num_gpus=2",
            "--batch_size=8", f"--num_batches={TOTAL_STEPS}", "--save_model_steps=4",
            "--eval_every_steps=6", "--display_every=1", "--moving_average_decay=0.9",
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def test_sigkill_and_the_same_command_again(tmp_path):
    """The run holds no thread or file that outlives it: not even the directory's lock."""
    whole = run_process(tmp_path / "data", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    killed = run_process(tmp_path / "data", tmp_path / "killed", ("-c", KILLS_ITSELF))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    directory = run_directory.RunDirectory(tmp_path / "killed")
    assert str(directory.checkpoint_to_resume()).endswith("model.ckpt-6")
    resumed = run_process(tmp_path / "data", tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_end(tmp_path / "killed", tmp_path / "whole")
