"""Cross-validation: each photo is tested once, and stopped and killed runs resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

import train
from download_and_convert_imagenet.records.manifest import read_manifest
from launch import folds as launcher
from preprocessing.own_photos.cache import Cache
from preprocessing.own_photos.folds import records_of_folds
from tests.conftest import ROOT
from tests.preprocessing.own_photos.folders import copy, records, write


def test_each_photo_is_tested_in_one_fold(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=20, dog=10)
    copy(root / "cat" / "3.png", root / "cat" / "copy.png")
    places = records_of_folds(records(root, folds=3, validation_fraction=0.2), 3)
    tested: Counter[str] = Counter()
    for place in places:
        rows = Cache(place).rows()
        parts = {row.file: row.split for row in rows}
        assert parts["cat/3.png"] == parts["cat/copy.png"]
        tested.update(file for file, part in parts.items() if part == "test")
        manifest = read_manifest(place)
        assert manifest is not None
        numbers = Counter(parts.values())
        assert {s: manifest.num_examples(s) for s in manifest.splits} == dict(numbers)
        # A fifth of 30 different photos validates, but for those that are tested.
        assert 3 <= numbers["validation"] <= 6
        assert numbers["train"] > numbers["test"]
    assert set(tested.values()) == {1}
    assert len(tested) == 31


def test_a_validation_fraction_of_0_holds_nothing_out(tmp_path):
    """Also where the folder has validation photos: they are dealt, like all others."""
    root = write(tmp_path / "photos", train__cat=6, train__dog=6, val__cat=4, val__dog=4)
    for fraction, splits in ((0.0, {"train", "test"}), (None, {"train", "validation", "test"})):
        cache = records(root, folds=2, validation_fraction=fraction)
        for place in records_of_folds(cache, 2):
            assert {row.split for row in Cache(place).rows()} == splits


def test_the_table_has_mean_and_sample_standard_deviation(tmp_path):
    results = [
        {"top_1": v, "test_top_1": t, "test_examples": 10}
        for v, t in ((0.5, 0.4), (0.7, 0.6), (0.9, 0.5))
    ]
    lines = launcher.table(results)
    assert lines[0].split() == ["top-1", "validation", "test", "test", "images"]
    assert lines[2].split() == ["fold", "2", "70.00%", "60.00%", "10"]
    assert lines[4].split() == ["mean", "70.00%", "50.00%", "30"]
    spread = [f"{np.std(values, ddof=1):.2%}" for values in ((0.5, 0.7, 0.9), (0.4, 0.6, 0.5))]
    assert lines[5].split() == ["spread", *spread]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--folds=2"], "--folds=2 needs a local --train_dir, for its runs and their table"),
        (["--folds=2", "--train_dir=s3://bucket/run"], "--folds=2 needs a local --train_dir"),
        (["--folds=1", "--train_dir=run"], "--folds=1 must be at least 2"),
        (
            ["--folds=2", "--train_dir=run", "--test_fraction=0.2"],
            "--test_fraction has no effect with --folds=2, which tests each photo once",
        ),
        (
            ["--folds=6", "--train_dir={tmp}/run"],
            "--folds=6 needs as many different photos of each class: dog has 5",
        ),
        (
            ["--folds=4", "--train_dir={tmp}/run", "--validation_fraction=0.01"],
            "--folds=4 of these few photos leaves a fold without validation photos: give a "
            "--validation_fraction above 0.01, or 0 for none",
        ),
    ],
)
def test_mistakes(tmp_path, capsys, flags, line):
    root = write(tmp_path / "photos", cat=8, dog=5)
    argv = ["--model=lenet", f"--data_dir={root}", f"--cache_dir={tmp_path}/cache"]
    assert train.main([*argv, *(flag.format(tmp=tmp_path) for flag in flags)]) == 2
    assert line in capsys.readouterr().err


@pytest.mark.slow
def test_a_stopped_and_a_killed_cross_validation_resume(tmp_path):
    root = write(tmp_path / "photos", cat=20, dog=20)
    command = [
        sys.executable, "train.py", "--device=cpu", "--model=lenet", "--image_size=20",
        "--batch_size=4", "--num_batches=300", "--save_model_steps=50", "--display_every=50",
        "--folds=2", f"--data_dir={root}", f"--train_dir={tmp_path}/run",
        f"--cache_dir={tmp_path}/cache", "--eval_every_epochs=20",
    ]  # fmt: skip
    # In the first fold a request to stop, in the second a kill.
    for fold, number, code in ((1, signal.SIGTERM, 75), (2, signal.SIGKILL, -signal.SIGKILL)):
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob(f"run/fold_{fold}/model.ckpt-50.index")):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(child.pid, number)
        assert child.wait(60) == code
        time.sleep(5)  # the kernel ends the training with its launcher
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Resuming from" in done.stdout
    starts = [
        json.loads((tmp_path / f"run/fold_{fold}/run.json").read_text())["starts"]
        for fold in (1, 2)
    ]
    assert [len(entries) for entries in starts] == [2, 2]
    assert {entries[-1]["result"]["global_step"] for entries in starts} == {300}
    table = json.loads((tmp_path / "run" / "folds.json").read_text())
    tested = [entries[-1]["result"]["test_top_1"] for entries in starts]
    assert table["test_top_1"]["mean"] == pytest.approx(np.mean(tested))
    assert sum(entry["test_examples"] for entry in table["folds"]) == 40
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0
    assert "TensorFlow:" not in again.stdout  # no fold is started
    assert again.stdout.splitlines()[-6:] == done.stdout.splitlines()[-6:]
