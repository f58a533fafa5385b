"""Images of several labels from a CSV to a prediction, with the commands that a user types."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

import eval as evaluation
import export
import prediction
import train
from benchmark_cnn.evaluation import figures
from benchmark_cnn.params.data_params import DataParams
from checkpoints import best, store
from download_and_convert_imagenet.__main__ import main as convert
from inference import source
from preprocessing import verify
from preprocessing.registry import open_dataset
from tests.conftest import ROOT

COLORS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """90 photos with a square of each of their colors, their shards, and a run on them."""
    top = tmp_path_factory.mktemp("colors")
    (top / "raw").mkdir()
    random = np.random.default_rng(0)
    rows = [("image", "labels")]
    for number in range(90):
        has = random.random(3) < 0.5
        pixels = random.integers(0, 50, (28, 28, 3))
        for channel in np.flatnonzero(has):
            row, column = random.integers(0, 14, 2)
            pixels[row : row + 14, column : column + 14, 2 - channel] = 230
        Image.fromarray(pixels.astype(np.uint8)).save(top / "raw" / f"{number:02}.png")
        rows.append((f"{number:02}.png", "|".join(np.array(COLORS)[has])))
    with open(top / "raw" / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    argv = [str(top / "data"), "--source=csv", f"--raw_dir={top / 'raw'}"]
    assert convert([*argv, "--validation_fraction=0.3", "--num_processes=1"]) == 0
    flags = [
        "--model=lenet", f"--data_dir={top / 'data'}", f"--train_dir={top / 'run'}", "--loss=bce",
        "--optimizer=adam", "--learning_rate=0.003", "--batch_size=21", "--num_epochs=12",
        "--train_crop=efficientnet", "--eval_every_epochs=6", "--device=cpu",
    ]  # fmt: skip
    assert train.main(flags) == 0
    return top


def truth(directory):
    data = open_dataset(DataParams(data_dir=str(directory)))
    batches = data.eval_batches(batch_size=27, image_size=28).as_numpy_iterator()
    return next(batches)


def test_the_records_say_what_the_csv_says(places):
    _, labels, is_real = truth(places / "data")
    assert is_real.all()
    assert labels.shape == (27, 3)
    assert set(np.unique(labels)) == {0, 1}
    assert json.loads((places / "data" / "manifest.json").read_text())["multi_label"] is True


def test_eval_reports_the_mean_average_precision(places, capsys):
    assert evaluation.main([f"--train_dir={places / 'run'}", "--device=cpu"]) == 0
    result = json.loads((places / "run" / "eval" / "eval.json").read_text())
    loaded = source.load(source.Request(train_dir=places / "run"))
    images, labels, _ = truth(places / "data")
    scores = loaded.classifier.probabilities(images)
    expected = average_precision_score(labels, scores, average=None)
    got = {entry["name"]: entry["average_precision"] for entry in result["classes"]}
    np.testing.assert_allclose([got[name] for name in COLORS], expected, atol=1e-6)
    assert result["mean_average_precision"] == pytest.approx(expected.mean())
    assert result["mean_average_precision"] > 0.8
    assert result["loss_is"] == "binary cross entropy, mean over the classes"
    assert f"Mean average precision = {expected.mean():.4f}" in capsys.readouterr().out
    kept = best.best_metrics(places / "run")
    assert kept is not None
    assert kept["mean_average_precision"] <= 1


def test_views_of_an_image_have_the_mean_of_independent_probabilities(places):
    argv = [f"--train_dir={places / 'run'}", "--device=cpu", "--tta=flip", "--batch_size=8"]
    assert evaluation.main([*argv, "--num_gpus=2"]) == 0
    result = json.loads((places / "run" / "eval" / "tta=flip" / "eval.json").read_text())
    classifier = source.load(source.Request(train_dir=places / "run")).classifier
    images, labels, _ = truth(places / "data")
    both = [classifier.logits(view).numpy().astype(float) for view in (images, images[:, :, ::-1])]
    mean, rest = (np.mean([1 / (1 + np.exp(s * z)) for z in both], axis=0) for s in (-1, 1))
    expected = average_precision_score(labels, mean, average=None)
    got = {entry["name"]: entry["average_precision"] for entry in result["classes"]}
    np.testing.assert_allclose([got[name] for name in COLORS], expected, atol=1e-6)
    cross_entropy = -(labels * np.log(mean) + (1 - labels) * np.log(rest)).mean()
    assert result["loss"] == pytest.approx(cross_entropy, rel=1e-4)


def test_predictions_are_the_labels_above_a_threshold(places, capsys):
    loaded = source.load(source.Request(train_dir=places / "run"))
    photo = str(places / "raw" / "00.png")
    for threshold in (0.0, 0.5, 1.0):
        argv = [photo, f"--train_dir={places / 'run'}", "--json", f"--threshold={threshold}"]
        assert prediction.main(argv) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        found = {p["label"]: p["probability"] for p in answer["predictions"]}
        assert all(p >= threshold for p in found.values())
        if threshold == 0:
            sums = found
            assert set(found) == set(COLORS)
        else:
            assert set(found) == {name for name, p in sums.items() if p >= threshold}
    assert loaded.signature.output == "independent probabilities"
    assert prediction.main([photo, f"--train_dir={places / 'run'}", "--threshold=1"]) == 0
    assert "no label with a probability of 100% or more" in capsys.readouterr().out


def test_what_supposes_one_label_says_so_in_one_line(places, capsys):
    run, data = f"--train_dir={places / 'run'}", str(places / "data")
    file = f"--output_tflite={places / 'x.tflite'}"
    calls = [
        (
            lambda: export.main([run, file]),
            "trained on images of several",
        ),
        (lambda: prediction.main([run, "-d", data]), "the images in .* have several labels"),
        (lambda: verify.main([data, "--counts"]), "--counts has no effect"),
    ]
    for call, words in calls:
        code = call()
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert code in (2, 3)
        assert re.search(words, error)


def test_a_network_of_one_label_is_not_evaluated_on_several(places, tmp_path, capsys):
    """What eval.py advises for another number of classes is refused here in one line."""
    run = tmp_path / "run"
    flags = ["--model=lenet", "--data_name=cifar10", "--num_batches=1", f"--train_dir={run}"]
    assert train.main([*flags, "--image_size=28", "--batch_size=2", "--device=cpu"]) == 0
    capsys.readouterr()
    data = [f"--train_dir={run}", f"--data_dir={places / 'data'}", "--device=cpu"]
    assert evaluation.main([*data, "--loss=bce", "--num_classes=10"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("error: --num_classes has no effect on raw, whose images have several")
    assert evaluation.main([*data, "--num_classes=3"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("error: --loss=softmax cannot be used on raw, whose images have several")


def test_figures_of_a_result_are_what_a_file_can_hold():
    by_class = {"average_precisions": np.ones(3), "examples_of_classes": np.ones(3, int)}
    result = {"top_1": np.float64(0.5), "examples": 3, "mean_average_precision": 0.25, **by_class}
    got = json.loads(json.dumps(figures(result)))
    assert got == {"top_1": 0.5, "examples": 3, "mean_average_precision": 0.25}


@pytest.mark.slow
def test_parameter_servers_train_what_is_frozen_at_first(places):
    """The evaluations of the chief know average precisions, and keep the best checkpoint."""
    run = places / "asynchronous"
    command = [
        sys.executable, "-m", "launch.local", "--workers=1", "--parameter_servers=1", "--",
        "train.py", "--device=cpu", "--model=lenet", f"--data_dir={places / 'data'}",
        f"--train_dir={run}", "--loss=bce", "--batch_size=21", "--num_batches=6",
        "--eval_every_steps=3", "--train_crop=efficientnet", "--freeze=conv1", "--freeze_epochs=1",
        "--save_model_steps=1", "--keep_checkpoints=9",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, timeout=400)
    assert best.best_metrics(run)["mean_average_precision"] > 0
    for layer, frozen in (("conv1/conv2d", True), ("head/dense", False)):
        first, at_end_of_freezing, last = (
            store.read(run / f"model.ckpt-{step}")[f"lenet/{layer}/kernel"] for step in (1, 3, 6)
        )
        assert np.array_equal(first, at_end_of_freezing) is frozen
        assert not np.array_equal(at_end_of_freezing, last)
