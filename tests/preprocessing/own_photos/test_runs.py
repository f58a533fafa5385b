"""From a folder to a run and its test, as a user types it; each command finds the same records."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import eval as evaluation
import prediction
import train
from benchmark_cnn.params.params import read_parameters
from preprocessing import verify
from preprocessing.own_photos.cache import Cache
from tests.preprocessing.own_photos.folders import counts, photo, write

LENET = ["--device=cpu", "--model=lenet", "--image_size=20", "--batch_size=4"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """photos/, and run/ that was trained on them for two epochs; grayscale photos among them."""
    root = tmp_path_factory.mktemp("place")
    write(root / "photos", cat=12, dog=12)
    for number in range(4):
        (root / "photos" / "cat" / f"gray{number}.png").write_bytes(photo(70 + number, "L"))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert train.main([*flags(root), "--num_epochs=2"]) == 0
    (root / "first.txt").write_text(out.getvalue())
    return root


def flags(root: Path, photos: str = "photos") -> list[str]:
    own = [f"--data_dir={root / photos}", f"--train_dir={root}/run", f"--cache_dir={root}/cache"]
    return [*LENET, *own, "--eval_every_epochs=1"]


@pytest.fixture
def copied(place, tmp_path):
    """Photos and run to spoil; the cache stays where it is."""
    for name in ("photos", "run"):
        shutil.copytree(place / name, tmp_path / name)
    return tmp_path


def in_run_json(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def test_a_run_tells_what_it_reads_and_ends_with_its_test(place):
    """16 and 12 photos: 2 and 1 of them validate, as many test."""
    lines = (place / "first.txt").read_text().splitlines()
    where = read_parameters(place / "run").data.data_dir
    assert where is not None
    assert Path(where).parent == place / "cache"
    assert lines[0] == f"Photos:      {place}/photos is converted once, into {where}"
    assert "class             train  validation        test" in lines
    assert "cat                  12           2           2" in lines
    assert "dog                  10           1           1" in lines
    assert counts(Cache(Path(where)))["dog"] == {"train": 10, "validation": 1, "test": 1}
    result = in_run_json(place / "run")["starts"][0]["result"]
    assert result["test_examples"] == 3
    tests = [line for line in lines if line.startswith("Test: ")]
    assert tests == [
        f"Test:       top-1 {result['test_top_1']:.2%} on the 3 test images, which chose nothing"
    ]
    assert sum(line.startswith("Running test") for line in lines) == 1


def test_eval_gives_the_test_of_the_training(place, tmp_path, capsys):
    """With and without --data_dir; a finished run that is started again tests nothing again.

    Records that were lost since are mended then.
    """
    result = in_run_json(place / "run")["starts"][0]["result"]
    for own in ([], [f"--data_dir={place}/photos", f"--cache_dir={place}/cache"]):
        argv = [f"--train_dir={place}/run", f"--eval_dir={tmp_path}", "--device=cpu", *own]
        assert evaluation.main([*argv, "--data_subset=test"]) == 0
        found = json.loads((tmp_path / "test" / "eval.json").read_text())
        assert (found["top_1"], found["examples"]) == (result["test_top_1"], 3)
        assert found["loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    capsys.readouterr()
    cache = Cache(Path(read_parameters(place / "run").data.data_dir or ""))
    (cache.path / "train-00000-of-00008").unlink()
    assert train.main([*flags(place), "--num_epochs=2"]) == 0
    assert cache.is_whole()
    again = capsys.readouterr().out
    assert "Running test" not in again
    assert re.search(r"^Test: +top-1 .* on the 3 test images", again, re.MULTILINE)
    assert len(in_run_json(place / "run")["starts"]) == 1


def test_other_commands_find_the_parts(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    argv = ["-d", str(place / "photos"), f"--train_dir={place}/run", f"--output_dir={tmp_path}/out"]
    assert prediction.main([*argv, "--data_subset=test"]) == 0
    names = pyarrow.parquet.read_table(tmp_path / "out" / "images.parquet").column(0).to_pylist()
    where = read_parameters(place / "run").data.data_dir
    tested = {row.file for row in Cache(Path(where or "")).rows() if row.split == "test"}
    assert set(names) == tested
    assert not (tmp_path / "home").exists()
    capsys.readouterr()
    assert verify.main([str(place / "photos")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^test: 1 shards, .* 3 examples, .*: intact$", printed, re.MULTILINE)


def test_a_changed_folder_is_refused_and_the_advice_works(copied, place, capsys):
    """A touched file has not changed."""
    root = copied
    own = [*LENET, f"--train_dir={root}/run", "--eval_every_epochs=1", "--num_epochs=3"]
    photos = place / "photos"
    old, new = photos / "cat" / "0.png", photos / "dog" / "new.png"
    content = old.read_bytes()
    try:
        old.write_bytes(content)
        new.write_bytes(photo(99))
        (photos / "cat" / "1.png").rename(root / "away.png")
        argv = [*own, f"--data_dir={photos}", f"--cache_dir={place}/cache"]
        assert train.main(argv) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            f"error: {photos} has changed since the run in {root}/run began: "
            "1 added (dog/new.png), 1 removed (cat/1.png): "
            "resume it on the photos as they were with --data_dir="
        )
        (advised,) = re.findall(r"--data_dir=\S+(?= and without --cache_dir, or)", line)
        assert train.main([*own, advised]) == 0
        assert "Resuming from" in capsys.readouterr().out
    finally:
        (root / "away.png").rename(photos / "cat" / "1.png")
        new.unlink()
    assert train.main([*own, f"--data_dir={photos}", f"--cache_dir={place}/cache"]) == 0
    assert "This run is finished" in capsys.readouterr().out


def test_another_division_of_a_run_is_refused(place, capsys):
    assert train.main([*flags(place), "--num_epochs=2", "--test_fraction=0.3"]) == 3
    assert capsys.readouterr().err == (
        f"error: the run in {place}/run began with --validation_fraction=0.1 --test_fraction=0.1: "
        "give these, or another --train_dir\n"
    )


def test_the_same_photos_elsewhere_are_converted_once(place, tmp_path, capsys):
    """A copy has other times, and the same contents."""
    shutil.copytree(place / "photos", tmp_path / "photos", copy_function=shutil.copyfile)
    argv = [*LENET, f"--data_dir={tmp_path}/photos", f"--cache_dir={place}/cache"]
    for _ in range(2):
        assert train.main([*argv, "--num_batches=1"]) == 0
        assert "is converted already" in capsys.readouterr().out


def test_flags_of_photos_have_no_effect_on_records(place, capsys):
    where = read_parameters(place / "run").data.data_dir
    assert train.main([*LENET, f"--data_dir={where}", "--test_fraction=0.2"]) == 2
    assert "--test_fraction has no effect on" in capsys.readouterr().err


def test_the_last_figure_is_that_of_numpy(place):
    """Top-1 of the test part, from the predictions of prediction.py's network and split.csv."""
    from inference.source import Request, load
    from preprocessing.images import photos as reader

    where = read_parameters(place / "run").data.data_dir
    rows = [row for row in Cache(Path(where or "")).rows() if row.split == "test"]
    loaded = load(Request(train_dir=place / "run"))
    names = loaded.signature.class_names
    right = 0
    for row in rows:
        view = reader.photo_view(place / "photos" / row.file, 20, "vgg")
        scores = np.asarray(loaded.classifier.probabilities(view[None]))
        right += names[int(scores.argmax())] == row.class_name
    result = in_run_json(place / "run")["starts"][0]["result"]
    assert right / len(rows) == pytest.approx(result["test_top_1"])
