"""prediction.py --data: what it writes, and how it continues what was interrupted."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import csv, parquet

import prediction
from common.errors import Stopped
from common.process import StopSignal
from download_and_convert_imagenet.sources.synsets import validation_labels
from inference.classifier import Classifier
from inference.predictions import per_image, table
from preprocessing.images import photos
from tests.conftest import ROOT
from tests.inference.predictions.conftest import NUM_IMAGES, checkpoint

_FILES = ["images.parquet", "manifest.json", "predictions.parquet"]


@pytest.fixture(scope="module")
def whole(lenet, kaggle, tmp_path_factory):
    """The artifact of one run."""
    directory = tmp_path_factory.mktemp("whole")
    argv = [f"--train_dir={lenet}", "-m", "lenet", "-d", str(kaggle), f"--output_dir={directory}"]
    assert prediction.main(argv) == 0
    return directory


def answers(directory):
    found = table.read(directory)
    return [found.images.tolist(), found.classes.tobytes(), found.probabilities.tobytes()]


def test_the_answers_are_the_networks_for_the_pixels_of_an_evaluation(whole, lenet, kaggle):
    """Bit by bit, in the batches of 32 that the tool promises."""
    found = table.read(whole)
    assert sorted(path.name for path in whole.iterdir() if path.name[0] != ".") == _FILES
    assert found.images[0] == "ILSVRC2012_val_00000001.JPEG"
    assert found.labels.tolist() == [label - 1 for label in validation_labels()[:NUM_IMAGES]]
    paths = [kaggle / "ILSVRC/Data/CLS-LOC/val" / name for name in found.images]
    views = np.stack([photos.photo_view(path, 28, "vgg") for path in paths])
    classifier = Classifier("lenet", lenet)
    rows = [*classifier.probabilities(views[:32]), *classifier.probabilities(views[32:])]
    for row, classes, probabilities in zip(rows, found.classes, found.probabilities, strict=True):
        assert classes.tolist() == sorted(range(1000), key=lambda k: -row[k])[:5]
        assert probabilities.tolist() == row[classes].tolist()
    assert len({*found.classes[:, 0].tolist()}) >= 5  # they differ


def test_the_manifest_says_how_the_answers_were_made(whole, kaggle):
    manifest = json.loads((whole / "manifest.json").read_text("utf-8"))
    data = manifest.pop("data")
    assert data["name"] == "imagenet"
    assert (data["directory"], data["subset"]) == (str(kaggle), "validation")
    assert data["images_directory"] == str(kaggle / "ILSVRC/Data/CLS-LOC/val")
    assert data["classes"] == list(range(1000))
    assert len(data["sha256"]) == len(manifest["sha256"]) == 64
    expected = {"model": "lenet", "backend": "checkpoint", "weights": "raw", "image_size": 28,
                "tta": None, "classes": "all", "top": 5, "expected": NUM_IMAGES}  # fmt: skip
    assert {key: manifest[key] for key in expected} == expected
    assert manifest["view"]["eval_method"] == "vgg"
    assert manifest["wordnet_ids"][0] == "n01440764"
    assert manifest["class_names"][0] == "tench, Tinca tinca"
    assert "tensorflow" in manifest["versions"]


def test_ten_crops_are_averaged_and_csv_holds_the_same(predict, lenet, kaggle, tmp_path):
    argv = ["-d", kaggle, "--tta=10-crop"]
    assert predict(*argv, f"--output_dir={tmp_path}/a", "--top=1000") == 0
    assert predict(*argv, f"--output_dir={tmp_path}/b", "--format=csv") == 0
    a, b = table.read(tmp_path / "a"), table.read(tmp_path / "b")
    assert a.classes[:, :5].tolist() == b.classes.tolist()
    np.testing.assert_array_equal(a.probabilities[:, :5], b.probabilities)
    assert csv.read_csv(tmp_path / "b/predictions.csv").num_rows == NUM_IMAGES
    # Five crops of the shorter side at 28 * 256 / 224 = 32, and their mirror images, by hand.
    from tests.inference.predictions.test_tta import ten

    image = photos.read(kaggle / "ILSVRC/Data/CLS-LOC/val" / a.images[3])
    rows = Classifier("lenet", lenet).probabilities(np.array(ten(image, 28), np.float32))
    mean = np.zeros(1000)
    mean[a.classes[3]] = a.probabilities[3]
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-3, atol=1e-6)


# The parent of the workers prints their numbers and kills itself, once it has written two parts.
# Each worker computes with two threads, as TensorFlow does in the tests: with another number some
# processors round otherwise.
KILLS_ITSELF = """
import multiprocessing, os, signal, sys
import prediction
from common import process
from inference.predictions.prediction import _Known

def add_two_parts(self, number, rows):
    add_part(self, number, rows)
    written.append(number)
    if len(written) == 2:
        print("workers", *(w.pid for w in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

written, add_part = [], _Known.add_part
_Known.add_part = add_two_parts
process.num_cores = lambda: 4
sys.exit(prediction.main(sys.argv[1:]))
"""


def test_killed_with_two_processes_and_run_again_with_one(predict, lenet, kaggle, tmp_path):
    """Equal to one run, bit by bit; the parts of the two are kept, and they end with the parent."""
    argv = [f"--train_dir={lenet}", "-m", "lenet", "-d", str(kaggle), "--tta=10-crop"]
    killed = tmp_path / "killed"
    command = [sys.executable, "-c", KILLS_ITSELF, *argv, f"--output_dir={killed}"]
    with subprocess.Popen(
        [*command, "--num_processes=2"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()  # to the end of the workers, who hold it, too
    assert process.returncode == -signal.SIGKILL
    title, *workers = lines[-1].split()
    assert title == "workers"
    assert workers
    assert not any(map(_runs, map(int, workers)))
    assert len(list(killed.glob("parts/*"))) == 2
    assert not (killed / "predictions.parquet").exists()

    assert predict("-d", kaggle, "--tta=10-crop", f"--output_dir={killed}") == 0
    assert predict("-d", kaggle, "--tta=10-crop", f"--output_dir={tmp_path}/one") == 0
    for name in _FILES:
        assert (killed / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert not (killed / "parts").exists()


def _runs(process):
    try:
        return open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stopped_run_says_so_and_continues(predict, kaggle, whole, tmp_path, capsys, monkeypatch):
    """SIGTERM after the first batch; a part of one batch is kept."""
    asked = []

    def stop_after_first_part(self, number, rows):
        original(self, number, rows)
        asked.append(number)
        os.kill(os.getpid(), signal.SIGTERM)

    from inference.predictions.prediction import _Known

    original = _Known.add_part
    monkeypatch.setattr(_Known, "add_part", stop_after_first_part)
    argv = ["-d", kaggle, f"--output_dir={tmp_path}"]
    assert predict(*argv) == Stopped.exit_code
    assert (
        f"stopped by SIGTERM: the same command continues in {tmp_path}" in capsys.readouterr().err
    )
    assert asked == [0]
    assert StopSignal._active is None
    monkeypatch.undo()
    assert predict(*argv) == 0
    assert "predicting 8 images" in capsys.readouterr().out
    assert answers(tmp_path) == answers(whole)


def test_what_is_complete_is_not_predicted_again_and_deleted_answers_are(
    predict, kaggle, whole, tmp_path, capsys
):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    argv = ["-d", kaggle, f"--output_dir={tmp_path}"]
    assert predict(*argv) == 0
    assert f"{tmp_path} holds all 40 predictions" in capsys.readouterr().out
    path = tmp_path / "predictions.parquet"
    complete = path.read_bytes()
    rows = parquet.read_table(path)
    parquet.write_table(rows.slice(0, 3).take([2, 0, 1]), path)
    assert table.read(tmp_path).missing.sum() == 37
    assert predict(*argv) == 0
    assert path.read_bytes() == complete


def test_another_prediction_is_refused_in_one_line(
    predict, lenet, kaggle, whole, tmp_path, tmp_path_factory, capsys
):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    other = checkpoint(tmp_path_factory.mktemp("other"), 1000, seed=1)
    smaller = tmp_path_factory.mktemp("smaller") / "imagenet"
    shutil.copytree(kaggle, smaller)
    next((smaller / "ILSVRC/Data/CLS-LOC/val").iterdir()).unlink()
    for argv, difference in [
        (["-d", kaggle, "--tta=flip"], "its tta is None, and 'flip' here"),
        (["-d", kaggle, "--top=3"], "its top is 5, and 3 here"),
        (["-d", kaggle, f"--train_dir={other}"], "its sha256 is '"),
        (["-d", kaggle, "--classes=subset"], "its classes is 'all', and 'subset' here"),
        (["-d", kaggle, "--eval_method=inception"], "its view eval_method is 'vgg', and 'inc"),
        (["-d", kaggle, "--format=csv"], "its format is 'parquet', and 'csv' here"),
        (["-d", smaller], "its expected is 40, and 39 here"),
    ]:
        assert predict(*argv, f"--output_dir={tmp_path}") == 3
        error = capsys.readouterr().err
        assert re.fullmatch(r"error: [^\n]+\n", error)
        assert f"{tmp_path} holds another prediction: {difference}" in error
        assert "give another --output_dir" in error
    assert answers(tmp_path) == answers(whole)


def test_a_data_set_may_move(predict, kaggle, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "a")
    shutil.copytree(kaggle, tmp_path / "imagenet")
    assert predict("-d", tmp_path / "imagenet", f"--output_dir={tmp_path / 'a'}") == 0
    assert "holds all 40 predictions" in capsys.readouterr().out


def test_a_file_for_each_image_in_the_ailia_form(predict, kaggle, whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    assert predict("-d", kaggle, f"--output_dir={tmp_path}", "--per_image_files") == 0
    found = table.read(tmp_path)
    files = sorted((tmp_path / "predictions").iterdir())
    assert [file.name for file in files] == [name[:-5] + ".txt" for name in found.images]
    for file, classes, probabilities in zip(files, found.classes, found.probabilities, strict=True):
        for line, k, probability in zip(
            file.read_text("utf-8").splitlines(), classes, probabilities, strict=True
        ):
            label, number, written = line.split(" ")
            assert label == found.manifest["class_names"][k].replace(" ", "_")
            assert int(number) == k
            assert written == f"{probability:.6f}"


def test_images_of_equal_names_have_a_file_each(whole, tmp_path):
    """a.jpg and a.png keep their suffixes; a.jpg.png then must not have the name of a.jpg's."""
    found = table.read(whole)
    names = ["a.jpg.png", "a.jpg", "a.png", "b/a.png", "b", "c"]
    some = dataclasses.replace(
        found,
        images=np.array(names),
        classes=found.classes[: len(names)],
        probabilities=found.probabilities[: len(names)],
    )
    per_image.write(some, tmp_path)
    written = sorted(str(p.relative_to(tmp_path / "predictions")) for p in tmp_path.rglob("*.txt"))
    assert written == ["a.jpg.png.txt", "a.jpg.txt", "a.png.txt", "b.txt", "b/a.txt", "c.txt"]


def test_edited_labels_are_another_prediction(predict, kaggle, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    listed = parquet.read_table(tmp_path / "images.parquet")
    same = pyarrow.array([3] * len(listed), pyarrow.int32())
    parquet.write_table(listed.set_column(1, "label", same), tmp_path / "images.parquet")
    assert predict("-d", kaggle, f"--output_dir={tmp_path}") == 3
    assert "its images.parquet has other images or labels; give" in capsys.readouterr().err


@pytest.mark.parametrize("inner", ["", "val/"])
def test_predictions_are_not_written_among_folders_of_classes(
    predict, kaggle, tmp_path, monkeypatch, capsys, inner
):
    """The folder `evaluation` would be a class, or a split, to the next reading."""
    photo = next(kaggle.rglob("*.JPEG"))
    (tmp_path / inner / "n01440764").mkdir(parents=True)
    shutil.copy(photo, tmp_path / inner / "n01440764")
    monkeypatch.chdir(tmp_path)
    assert predict("-d", ".") == 2
    assert "among the images of ., whose folders are classes: give" in capsys.readouterr().err
    assert predict("-d", kaggle, f"--output_dir={kaggle}/ILSVRC/Data/CLS-LOC/val/out") == 2
    assert not (tmp_path / "evaluation").exists()


def test_an_unreadable_image_is_named_and_the_others_are_answered(
    predict, kaggle, whole, tmp_path, capsys
):
    data = tmp_path / "imagenet"
    shutil.copytree(kaggle, data)
    folder = data / "ILSVRC/Data/CLS-LOC/val"
    (folder / "ILSVRC2012_val_00000003.JPEG").write_bytes(b"no image")
    out = tmp_path / "out"
    assert predict("-d", data, f"--output_dir={out}") == 3
    error = capsys.readouterr().err
    assert re.search(r"error: ILSVRC2012_val_00000003.JPEG is no image[^\n]*\n", error)
    assert "error: 1 of 40 images have no prediction, which counts as wrong" in error
    found = table.read(out)
    assert found.missing.tolist() == [n == 2 for n in range(NUM_IMAGES)]
    assert found.labels.tolist() == table.read(whole).labels.tolist()


def test_a_full_disk_leaves_no_half_file_and_nothing_is_lost(
    predict, kaggle, whole, tmp_path, capsys
):
    """The hidden files that are renamed lie on a full disk."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    argv = ["-d", kaggle, f"--output_dir={tmp_path}"]
    path = tmp_path / "predictions.parquet"
    path.unlink()
    for hidden, name in [
        (tmp_path / "parts/.part-00001.parquet.partial", "part-00001.parquet"),
        (tmp_path / ".predictions.parquet.partial", "predictions.parquet"),
    ]:
        hidden.parent.mkdir(exist_ok=True)
        hidden.symlink_to("/dev/full")
        assert predict(*argv) == 3
        error = capsys.readouterr().err
        assert re.fullmatch(r"error: cannot write [^\n]+No space left on device; [^\n]+\n", error)
        assert name in error
        assert not path.exists()
        assert (tmp_path / "parts/part-00000.parquet").exists()
        assert not list(tmp_path.rglob("*.partial"))
    assert predict(*argv) == 0
    assert "predicting" not in capsys.readouterr().out
    assert answers(tmp_path) == answers(whole)


@pytest.fixture(scope="module")
def picky(tmp_path_factory):
    """A SavedModel of two classes that fails on images of 7, and is not finite on those of 9."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, name="images")])
    def serve(images):
        means = tf.reduce_mean(images, [1, 2, 3])
        with tf.control_dependencies([tf.debugging.assert_none_equal(means, 7.0)]):
            share = tf.where(means == 9.0, tf.constant(float("nan")), means / 255)
        return {"output": tf.stack([share, 1 - share], axis=1)}

    directory = tmp_path_factory.mktemp("picky") / "picky"
    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(directory), signatures=serve)
    return directory


@pytest.mark.parametrize(
    ("color", "exit_code", "message"),
    [
        (7, 1, "picky fails on the batch that begins with dark/032.png: .*"),
        (9, 4, "picky gives a value that is not finite in the batch that begins with dark/032"),
    ],
)
def test_a_model_that_fails_stops_the_tool_and_keeps_what_was_answered(
    picky, tmp_path, capsys, color, exit_code, message
):
    for name, number, value in [("dark", 40, 10), ("light", 5, 200)]:
        (tmp_path / "data" / name).mkdir(parents=True)
        for n in range(number):
            image = Image.new("RGB", (9, 9), (value, value, value))
            image.save(tmp_path / "data" / name / f"{n:03d}.png")
    bad = tmp_path / "data/light/002.png"
    Image.new("RGB", (9, 9), (color, color, color)).save(bad)
    (tmp_path / "labels.json").write_text('["dark", "light"]')
    argv = ["-m", str(picky), "-d", str(tmp_path / "data"), f"--output_dir={tmp_path}/out",
            f"--labels_map_file={tmp_path}/labels.json"]  # fmt: skip
    assert prediction.main(argv) == exit_code
    error = capsys.readouterr().err
    assert re.fullmatch(rf"error: {message}[^\n]*\n", error)
    assert [path.name for path in (tmp_path / "out/parts").iterdir()] == ["part-00000.parquet"]
    assert not (tmp_path / "out/predictions.parquet").exists()
