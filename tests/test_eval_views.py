"""eval.py --tta: the figures of prediction.py and accuracy.py, on any number of towers."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest

import accuracy
import eval as evaluation
import prediction
import train
from benchmark_cnn.params.data_params import DataParams
from inference.classifier import Classifier
from inference.predictions import table
from preprocessing.registry import open_dataset


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of lenet that is often wrong, and whose images are digits of several sizes."""
    directory = tmp_path_factory.mktemp("views")
    argv = [
        "--model=lenet", "--device=cpu", "--batch_size=16", "--num_batches=6",
        "--data_name=digits", f"--data_dir={directory}/data", f"--train_dir={directory}/run",
        "--learning_rate=0.02",
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main(argv) == 0
    return directory / "run"


def evaluated(run, tmp_path, *argv):
    """The content of eval.json."""
    place = tmp_path / f"eval-{'-'.join(argv).replace('/', '_')}"
    argv = [f"--train_dir={run}", "--device=cpu", f"--eval_dir={place}", *argv]
    with contextlib.redirect_stdout(io.StringIO()):
        assert evaluation.main(argv) == 0
    (found,) = place.rglob("eval.json")
    return json.loads(found.read_text())


@pytest.mark.parametrize("tta", ["flip", "10-crop", "1-crop"])
def test_the_figures_are_those_of_predictions_on_any_number_of_towers(run, tmp_path, tta):
    one = evaluated(run, tmp_path, f"--tta={tta}", "--batch_size=100")
    three = evaluated(run, tmp_path, f"--tta={tta}", "--batch_size=7", "--num_gpus=3")
    counts = ("top_1", "top_5", "examples", "tta")
    assert [one[name] for name in counts] == [three[name] for name in counts]
    assert one["loss"] == pytest.approx(three["loss"], rel=1e-5)
    plain = evaluated(run, tmp_path)
    assert (plain["tta"], one["tta"]) == (None, tta)
    assert abs(plain["loss"] - one["loss"]) > 1e-3

    predicted = tmp_path / "predicted"
    argv = ["-d", str(run.parent / "data"), f"--train_dir={run}", f"--tta={tta}"]
    assert prediction.main([*argv, "--top=10", f"--output_dir={predicted}"]) == 0
    assert accuracy.main([str(predicted), "--worst=0"]) == 0
    figures = json.loads((predicted / "accuracy.json").read_text())
    assert (one["top_1"], one["top_5"]) == (figures["top_1"], figures["top_5"])
    # The loss is that of the mean probability of the label.
    found = table.read(predicted)
    is_label = found.classes == found.labels[:, np.newaxis]
    assert one["loss"] == pytest.approx(-np.log(found.probabilities[is_label]).mean(), rel=1e-4)


def test_each_kind_of_view_has_its_own_place(run):
    with contextlib.redirect_stdout(io.StringIO()):
        assert evaluation.main([f"--train_dir={run}", "--device=cpu", "--tta=flip"]) == 0
    assert json.loads((run / "eval" / "tta=flip" / "eval.json").read_text())["tta"] == "flip"


def test_a_crop_without_effect_is_refused(run, capsys):
    argv = [f"--train_dir={run}", "--tta=10-crop", "--eval_method=vgg", "--resize_method=area"]
    assert evaluation.main(argv) == 2
    lines = capsys.readouterr().err.splitlines()
    why = "with --tta=10-crop, which says how images are seen"
    assert lines == [
        f"error: --eval_method has no effect {why}",
        f"error: --resize_method has no effect {why}",
    ]


def test_synthetic_images_have_no_views(run, capsys):
    argv = [f"--train_dir={run}", "--tta=flip", "--data_name=imagenet"]
    assert evaluation.main([*argv, "--data_dir=None"]) == 2
    assert "--tta=flip has no effect on synthetic images" in capsys.readouterr().err


@pytest.mark.slow  # builds and trains a network of TF-Slim
def test_a_network_of_slim_answers_views_in_a_loop(tmp_path):
    argv = [
        "--model=mobilenet_v1_relu", "--device=cpu", "--batch_size=8", "--num_batches=1",
        "--image_size=32", "--data_name=digits", f"--data_dir={tmp_path}/data",
        f"--train_dir={tmp_path}/run",
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main(argv) == 0
    found = evaluated(tmp_path / "run", tmp_path, "--tta=flip", "--num_gpus=2")
    prefix = tmp_path / "run" / "model.ckpt-1"
    classifier = Classifier("mobilenet_v1_relu", prefix, image_size=32)
    data = open_dataset(DataParams(data_dir=f"{tmp_path}/data"))
    ((images, labels, _),) = data.eval_batches(batch_size=359, image_size=32).take(1)
    both = [classifier.probabilities(view) for view in (images, images[:, :, ::-1])]
    mean = np.mean(both, axis=0)
    labels = labels.numpy()
    assert found["top_1"] == pytest.approx((mean.argmax(axis=1) == labels).mean(), abs=1e-9)
    expected = -np.log(mean[np.arange(359), labels]).mean()
    assert found["loss"] == pytest.approx(expected, rel=1e-3)
