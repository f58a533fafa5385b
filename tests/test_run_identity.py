"""A run knows what it is: changes by a later command are said, or refused where data is lost."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest

import eval as evaluation
import train
from benchmark_cnn import identity, training_setup
from benchmark_cnn.params.params import read_parameters
from benchmark_cnn.params.validation import make_params
from checkpoints import best
from inference import class_names
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples
from tests.benchmark_cnn.reporting.event_readers import tensor

LENET = ["--device=cpu", "--model=lenet"]
DECAY = "--moving_average_decay=0.9"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Digits, the same digits with other classes, and a finished run of 2 steps with averages."""
    directory = tmp_path_factory.mktemp("trained")
    places = {"data": directory / "data", "run": directory / "run", "other": directory / "other"}
    argv = [*LENET, "--data_name=digits", f"--data_dir={places['data']}", "--batch_size=8"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        argv += [f"--train_dir={places['run']}", "--num_batches=2", "--eval_every_steps=2", DECAY]
        assert train.main(argv) == 0
    (directory / "printed").write_text(printed.getvalue())
    shutil.copytree(places["data"], places["other"])
    manifest = json.loads((places["data"] / "manifest.json").read_text())
    manifest |= {"name": "shapes", "class_names": DIGITS[::-1]}
    (places["other"] / "manifest.json").write_text(json.dumps(manifest))
    return places


@pytest.fixture
def places(trained, tmp_path):
    """The same with a copy of the run to write into."""
    return {**trained, "run": Path(shutil.copytree(trained["run"], tmp_path / "run"))}


def resume(places, *argv):
    """Starts the run again; flags that are given twice have their last value."""
    return train.main([
        *LENET, "--batch_size=8", f"--data_dir={places['data']}", f"--train_dir={places['run']}",
        DECAY, "--num_batches=4", *(word.format(**places) for word in argv),
    ])  # fmt: skip


def content(directory):
    """Name -> bytes of the files that say what a run is."""
    names = ("parameters.json", "run.json", "metrics.csv", "best/best.json")
    return {name: (directory / name).read_bytes() for name in names} | {
        path.name: b"" for path in directory.glob("model.ckpt*")
    }


REFUSALS = {
    "averages": (
        ["--moving_average_decay=None"],
        "model.ckpt-2 holds the moving averages of 8 variables "
        "(lenet/conv1/conv2d/bias/ExponentialMovingAverage) that would be lost: give "
        "--moving_average_decay=0.9 as before, or --moving_average_decay=0 to drop them",
    ),
    "averages, whatever is frozen": (
        ["--moving_average_decay=None", "--freeze_epochs=0.005"],
        "that would be lost: give --moving_average_decay=0.9 as before",
    ),
    "slots, whatever is frozen": (
        ["--optimizer=sgd", "--freeze_epochs=0.005"],
        "would be lost: give --optimizer=momentum as before",
    ),
    "slots": (["--optimizer=sgd"], "would be lost: give --optimizer=momentum as before"),
    "other classes": (
        ["--data_dir={other}", "--data_name=folder"],
        "the run in {run} was trained on digits (10 classes: zero, one, two, three, four, ...), "
        "not on shapes (10 classes: nine, eight, seven, six, five, ...): give its data with "
        "--data_dir, or start another --train_dir from its weights with --init_checkpoint={run}",
    ),
    "no images": (
        ["--data_dir=None", "--num_classes=10"],
        "was trained on digits (10 classes: zero, one, two, three, four, ...), not on synthetic",
    ),
    "a finished run under other data": (
        ["--num_batches=2", "--data_dir={other}", "--data_name=folder"],
        "not on shapes",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_would_be_lost_is_refused_and_nothing_is_written(places, capsys, case):
    argv, text = REFUSALS[case]
    before = content(places["run"])
    assert resume(places, *argv) == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert text.format(**places) in line
    assert content(places["run"]) == before


def test_a_command_that_trains_nothing_rewrites_nothing(places, capsys):
    before = content(places["run"])
    assert resume(places, "--num_batches=2", "--learning_rate=0.1") == 0
    assert "This run is finished" in capsys.readouterr().out
    assert content(places["run"]) == before


def test_a_resume_says_what_it_changes(places, capsys, tmp_path):
    """Data that grew, other values of flags, another batch; averages can be dropped on purpose."""
    grown = Path(shutil.copytree(places["data"], tmp_path / "grown"))
    (grown / "manifest.json").write_text((grown / "manifest.json").read_text() + "\n")
    argv = ["--moving_average_decay=0", "--batch_size=16", f"--data_dir={grown}"]
    assert resume(places, *argv) == 0
    lines = capsys.readouterr().out.splitlines()
    counted = "1,438 train and 359 validation images"
    for line in (
        f"Warning: digits has changed since the last start. There were {counted}, there are "
        f"{counted}; their order is another",
        f"Warning: the moving averages of {places['run']}/model.ckpt-2 are dropped, as asked",
        "Warning: the global batch was 8 and is now 16. Steps are counted, not epochs: the "
        "learning rate follows the step, and the run ends at step 4, after 0.03 epochs",
    ):
        assert line in lines, lines
    (changes,) = [line for line in lines if line.startswith("Changed since the last start: ")]
    for change in ("--batch_size=16 (was 8)", "--num_batches=4 (was 2)", "(was 0.9)"):
        assert change in changes
    assert read_parameters(places["run"]).optimization.moving_average_decay == 0
    # The batch that is compared is the last start's, not the mean of all steps.
    assert resume(places, *argv, "--num_batches=5") == 0
    assert "global batch was" not in capsys.readouterr().out


def test_the_first_lines_say_what_is_trained(trained):
    """After tf_cnn_benchmarks' block, whose lines other programs read."""
    lines = (trained["run"].parent / "printed").read_text().splitlines()
    start = lines.index("Generating training model") + 1
    assert lines[start : start + 8] == [
        "Images:      digits: 1,438 train and 359 validation images",
        "Classes:     10: zero, one, two, three, four, ...",
        "Parameters:  1,664,970",
        "Epoch:       all training images once: 179.8 steps of 8 images",
        "End:         at step 2, after 0.01 epochs",
        "Loss:        softmax cross entropy",
        "Rate:        learning rate 0.005 at first, constant",
        "Checkpoint:  20.0 MB",
    ]
    (learned,) = [line for line in lines if line.startswith("Learned:")]
    assert learned.endswith("on the 359 validation images, with the averaged weights")


def test_the_run_directory_says_what_the_run_is(trained, tmp_path):
    record = json.loads((trained["run"] / "run.json").read_text())
    (start,) = record["starts"]
    assert record["class_names"] == DIGITS
    assert start["data"]["examples"] == {"train": 1438, "validation": 359}
    assert len(start["data"]["manifest_sha256"]) == 64
    assert start["run"] == {
        "parameters": 1_664_970, "classes": 10, "image_size": 28, "batch_per_tower": 8,
        "global_batch": 8, "learning_rate": 0.005, "steps_per_epoch": 1438 / 8, "total_steps": 2,
        "weights": "moving average", "checkpoint_bytes": 3 * 4 * 1_664_970 + 4 * 8,
        "loss": "softmax cross entropy", "balanced_sampling": False, "augmentation_repeats": 1,
    }  # fmt: skip
    assert start["result"]["weights"] == "moving average"
    table = tensor(trained["run"], "parameters").item().decode()
    for row in ("| moving_average_decay | 0.9 |", "| learning_rate | 0.005 |"):
        assert row in table.splitlines()
    assert best.best_metrics(trained["run"])["weights"] == "moving average"  # type: ignore[index]
    # Predictions have names when the data are gone, also where best/ was copied to.
    copied = shutil.copytree(trained["run"] / "best", tmp_path / "copied")
    moved = read_parameters(trained["run"]).data
    object.__setattr__(moved, "data_dir", str(tmp_path / "gone"))
    for directory in (trained["run"], copied):
        assert class_names.class_names(10, None, moved, directory) == DIGITS


def test_an_evaluation_on_other_data_is_another_curve(places, capsys):
    argv = ["--device=cpu", f"--train_dir={places['run']}", "--data_name=folder"]
    assert evaluation.main([*argv, f"--data_dir={places['other']}"]) == 0
    assert (
        "Warning: the run was trained on digits (10 classes: zero, one, two, three, four, ...); "
        "the classes of shapes are others (10 classes: nine, eight, seven, six, five, ...)"
    ) in capsys.readouterr().out
    assert (places["run"] / "eval" / "data=shapes" / "eval.json").exists()
    assert not (places["run"] / "eval" / "eval.json").exists()


def old(places):
    """Makes the run an earlier version's, which recorded neither classes nor data."""
    path = places["run"] / "run.json"
    record = json.loads(path.read_text())
    record.pop("class_names")
    for start in record["starts"]:
        del start["data"], start["run"]
    path.write_text(json.dumps(record))


def as_folders(places, tmp_path, names):
    """The digits as a converted folder with these names of classes."""
    data = Path(shutil.copytree(places["data"], tmp_path / "folder"))
    manifest = json.loads((data / "manifest.json").read_text())
    (data / "manifest.json").write_text(
        json.dumps(manifest | {"name": "shapes", "class_names": names})
    )
    return data


def test_an_old_run_says_that_its_classes_are_not_known(places, capsys, tmp_path):
    """A renamed class cannot be noticed, as no name was recorded: the user is asked to look."""
    old(places)
    parameters = places["run"] / "parameters.json"
    flags = json.loads(parameters.read_text()) | {"data_name": "folder"}
    parameters.write_text(json.dumps(flags))
    data = as_folders(places, tmp_path, DIGITS[::-1])
    expected = (
        f"Warning: the run in {places['run']} does not say what its classes were (it is an earlier "
        "version's). The labels are taken for those of shapes as it is now: "
        "10 classes: nine, eight, seven, six, five, ..."
    )
    argv = ["--device=cpu", f"--train_dir={places['run']}", f"--data_dir={data}"]
    assert evaluation.main(argv) == 0
    assert expected in capsys.readouterr().out.splitlines()
    assert resume(places, f"--data_dir={data}", "--data_name=folder", "--train_crop=none") == 2
    capsys.readouterr()
    views = ["--train_crop=inception"]
    assert resume(places, f"--data_dir={data}", "--data_name=folder", *views) == 0
    assert expected in capsys.readouterr().out.splitlines()
    # From now on the run knows them.
    assert resume(places, "--num_batches=5") == 3


def test_a_finished_run_says_of_how_many_images(places, capsys):
    assert resume(places, "--num_batches=2") == 0
    (line,) = [s for s in capsys.readouterr().out.splitlines() if s.startswith("Learned:")]
    assert line.endswith("on the 359 validation images, with the averaged weights")


def test_an_output_among_the_data_gives_a_warning(places, caplog):
    argv = ["--device=cpu", f"--train_dir={places['run']}", f"--eval_dir={places['data']}/eval"]
    assert evaluation.main(argv) == 0
    assert f"--eval_dir={places['data']}/eval lies in --data_dir={places['data']}" in caplog.text
    inside = f"{places['data']}/run"
    assert resume(places, f"--train_dir={inside}", "--num_batches=1") == 0
    assert f"--train_dir={inside} lies in --data_dir={places['data']}" in caplog.text
    shutil.rmtree(inside)
    shutil.rmtree(f"{places['data']}/eval")


def test_the_decay_that_an_earlier_version_recorded_as_a_default_is_no_change(capsys):
    earlier, now = make_params(weight_decay=4e-5), make_params()
    identity.log_changes(earlier, now)
    assert not capsys.readouterr().out
    identity.log_changes(earlier, make_params(optimizer="adamw"))
    expected = "--optimizer=adamw (was momentum), --weight_decay=0.01 (was 4e-05)"
    assert expected in capsys.readouterr().out


def test_the_rate_that_a_run_announces_is_that_of_its_steps(tmp_path):
    """Where a CPU has a smaller default batch, the model's rate is reduced in proportion."""
    spec = Spec(ConvNetwork, batch_size=64, learning_rate=0.5)
    run = training_setup.set_up(make_params(device="cpu"), spec, ArrayData(*random_examples(64)))
    assert float(run.step.schedule(0)) == 0.25
    assert identity.of_start(run)["run"]["learning_rate"] == 0.25
