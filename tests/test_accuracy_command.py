"""accuracy.py as a user calls it: one artifact, several, wrong ones, and the page of the worst."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import accuracy
from common.files import sha256_of
from inference.predictions.sources import opening
from tests.inference.accuracy.artifacts import random_predictions, without, write
from tests.inference.accuracy.pages import Page

CLASSES = ("<b>cat<i>", "bird & 'tit'", 'dog "rex"')
SIZE = (400, 200)  # of the photos, in pixels
PER_CLASS = 8
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def run(capsys, *argv, code=0):
    """(lines of stdout, lines of stderr)."""
    capsys.readouterr()
    assert accuracy.main([str(word) for word in argv]) == code
    written = capsys.readouterr()
    assert "Traceback" not in written.err
    return written.out.splitlines(), written.err.splitlines()


def color(number):
    return (10 * number, 255 - 10 * number, 128)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Class folders whose names are hostile to HTML; photo n has the color n."""
    directory = tmp_path_factory.mktemp("data") / "pets & <birds>"
    for number in range(len(CLASSES) * PER_CLASS):
        folder = directory / "val" / CLASSES[number // PER_CLASS]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE, color(number)).save(folder / f"<i>{number:02}.png")
    return directory


@pytest.fixture(scope="module")
def artifact(photos, tmp_path_factory):
    """Predictions of the photos: half of them wrong, one missing."""
    data = opening.open_dataset(str(photos), None)
    labels = np.array([image.label for image in data.images])
    predictions = without(
        random_predictions(
            num_images=len(labels), num_classes=3, top=3, labels=labels, accuracy=0.3,
            class_names=list(data.class_names),
            data={"name": data.name, "directory": str(photos), "subset": data.subset},
        ),
        [5],
    )  # fmt: skip
    images = np.array([image.name for image in data.images])
    predictions = dataclasses.replace(predictions, images=images)
    return write(tmp_path_factory.mktemp("artifact") / "pets", predictions), predictions


def test_one_artifact(artifact, capsys):
    directory, predictions = artifact
    lines, errors = run(capsys, directory)
    right = sum(
        row[0] == label for row, label in zip(predictions.classes, predictions.labels, strict=True)
    )
    assert not errors
    missing = predictions.images[5]
    assert f"Missing predictions: 1, counted as wrong; first {missing}" in lines
    ailia = ["Accuracy", "DATA CNT : 24", f"TOP1 : {right / 24:f}", f"TOP5 : {23 / 24:f}"]
    assert lines[-6:-2] == ailia
    assert (directory / "results.txt").read_text().splitlines() == ailia
    result = json.loads((directory / "accuracy.json").read_text())
    assert (result["images"], result["missing"], result["top_1"]) == (24, 1, right / 24)
    assert result["missing_images"] == [missing]
    assert {entry["name"] for entry in result["classes"]} == set(CLASSES)
    assert result["predictions"]["model"] == "lenet"
    assert lines[-2:] == [
        f"Written: {directory}/accuracy.json, {directory}/results.txt",
        f"Written: {directory}/worst.html",
    ]


def test_the_page_shows_the_worst_images_and_loads_nothing(artifact, capsys):
    directory, predictions = artifact
    run(capsys, directory)
    source = (directory / "worst.html").read_text()
    page = Page(source)
    wrong = [
        (-float(probability[0]), place)
        for place, (row, probability, label) in enumerate(
            zip(predictions.classes, predictions.probabilities, predictions.labels, strict=True)
        )
        if row[0] not in (label, -1)
    ]
    order = [place for _, place in sorted(wrong)]
    assert len(order) > 5
    assert [lines[-1] for lines in page.figures] == [
        ("small", predictions.images[place]) for place in order
    ]
    assert page.alts == [predictions.images[place] for place in order]
    assert page.title == "lenet on pets & <birds>"
    assert f"{len(order)} of 24 images are classified wrongly, and 1 have no" in page.text
    assert all(address.startswith("data:") for address in page.addresses)
    assert "default-src 'none'" in source
    for place, lines, picture in zip(order, page.figures, page.pictures, strict=True):
        row, probabilities = predictions.classes[place], predictions.probabilities[place]
        true = CLASSES[predictions.labels[place]]
        assert lines[0] == ("true", true)
        assert lines[1] == ("wrong", f"{100 * probabilities[0]:.1f}% {CLASSES[row[0]]}")
        assert [kind for kind, text in lines[1:4] if text.endswith(true)] == ["true"]
        assert picture.shape == (80, 160, 3)
        number = int(predictions.images[place].split(">")[-1][:2])
        np.testing.assert_allclose(picture.mean(axis=(0, 1)), color(number), atol=3)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_shows_the_thumbnails(artifact, capsys, tmp_path):
    """In headless Chromium: each photo's color covers its 160 x 80 pixels, and nothing loads."""
    directory, _ = artifact
    run(capsys, directory)
    picture = tmp_path / "page.png"
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,3000"]
    command += [f"--screenshot={picture}", (directory / "worst.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(picture).convert("RGB"), np.int32)
    page = Page((directory / "worst.html").read_text())
    assert page.alts
    for name in page.alts:
        number = int(name.split(">")[-1][:2])
        near = np.abs(pixels - color(number)).max(axis=2) <= 4
        assert 0.9 * 160 * 80 <= near.sum() <= 1.1 * 160 * 80, name


def test_images_of_records_are_found(tmp_path, capsys, monkeypatch):
    """The digits are written at their first use: 32 x 32 pixels in TFRecords."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data = opening.open_dataset("digits", "validation")
    labels = np.array([image.label for image in data.images])
    about = {"name": "digits", "directory": str(data.directory), "subset": "validation"}
    predictions = dataclasses.replace(
        random_predictions(num_images=len(labels), num_classes=10, labels=labels, data=about),
        images=np.array([image.name for image in data.images]),
    )
    run(capsys, write(tmp_path / "digits", predictions), "--worst=3")
    page = Page((tmp_path / "digits" / "worst.html").read_text())
    assert [picture.shape for picture in page.pictures] == [(32, 32, 3)] * 3
    one = next(i for i in data.images if i.name == page.alts[0])
    import tensorflow as tf

    stored = tf.io.decode_image(one.location.read(), channels=3).numpy()
    np.testing.assert_allclose(page.pictures[0].mean(), stored.mean(), atol=3)


def test_images_that_are_gone_are_replaced_by_the_reason(artifact, photos, tmp_path, capsys):
    directory = Path(shutil.copytree(artifact[0], tmp_path / "copy"))
    content = json.loads((directory / "manifest.json").read_text())
    content["data"]["directory"] = str(tmp_path / "<gone>")
    (directory / "manifest.json").write_text(json.dumps(content))
    run(capsys, directory)
    page = Page((directory / "worst.html").read_text())
    assert {picture is None for picture in page.pictures} == {True}
    assert {lines[0] for lines in page.figures} == {("none", page.figures[0][0][1])}
    assert page.figures[0][0][1].startswith(f"{tmp_path}/<gone> does not exist")
    moved = Path(shutil.copytree(photos, tmp_path / "<gone>"))
    gone = next(moved.rglob(f"*{Path(artifact[1].images[0]).name}"))
    gone.unlink()
    run(capsys, directory)
    page = Page((directory / "worst.html").read_text())
    assert sum(picture is None for picture in page.pictures) == 1
    assert any("is not in" in lines[0][1] for lines in page.figures)


def test_the_directories_of_the_ailia_tool(artifact, tmp_path, capsys, monkeypatch):
    """evaluation/MODEL/NAME, imagenet by default; "=" and "." of the name become "_"."""
    monkeypatch.chdir(tmp_path)
    for name in ("imagenet", "imagenet__t_1_crop"):
        shutil.copytree(artifact[0], tmp_path / "evaluation" / "resnet50" / name)
    for argv in (["-m", "resnet50"], ["-m", "resnet50", "-d", "imagenet__t=1.crop"]):
        run(capsys, *argv, "--worst=0")
    for name in ("imagenet", "imagenet__t_1_crop"):
        assert (tmp_path / "evaluation" / "resnet50" / name / "results.txt").exists()
    run(capsys, "-m", "resnet50", "-d", "evaluation/resnet50/imagenet", "--worst=0")
    _, errors = run(capsys, "-m", "resnet50", "-d", "digits", code=3)
    assert errors == [
        "error: there are no predictions in evaluation/resnet50/digits: --data is one of imagenet, "
        "imagenet__t_1_crop"
    ]
    _, errors = run(capsys, "-m", "resnet", code=3)
    assert errors[0].endswith("evaluation/resnet/imagenet: --model is one of resnet50")
    monkeypatch.chdir(tmp_path / "evaluation")
    _, errors = run(capsys, "-m", "lenet", "-d", "my photos", code=3)
    assert errors[0].endswith(
        "write them with python prediction.py --model=lenet --data='my photos'"
    )


def test_the_predictions_of_an_exported_file(tmp_path, capsys, monkeypatch):
    """They lie under the network's name; prediction.py's --model finds them."""
    monkeypatch.chdir(tmp_path)
    file = Path("lite0.tflite")
    file.write_bytes(b"TFL3")
    made = {"file": file.name, "sha256": sha256_of(file)}
    home = Path("evaluation/efficientnet_lite0")
    for name in ("photos__lite0_tflite", "photos__lite0_tflite_1-crop", "pets__lite0_tflite_flip"):
        data = {"name": name.split("__")[0], "directory": "/nowhere", "subset": "validation"}
        write(home / name, random_predictions(**made, data=data))
    for data in ("photos", "photos__lite0_tflite_1-crop", "pets"):
        run(capsys, "-m", file, "-d", data, "--worst=0")
    written = sorted(path.parent.name for path in home.glob("*/accuracy.json"))
    assert written == sorted(path.name for path in home.iterdir())
    _, errors = run(capsys, "-m", file, code=3)
    assert errors == [
        "error: no predictions of lite0.tflite and imagenet: give the directory, one of "
        + ", ".join(str(path) for path in sorted(home.iterdir()))
    ]
    shutil.rmtree(home / "photos__lite0_tflite")
    write(home / "photos__lite0_tflite_flip", random_predictions(**made))
    _, errors = run(capsys, "-m", file, "-d", "photos", code=3)
    assert errors[0].startswith("error: several predictions of lite0.tflite and photos: give the")
    file.write_bytes(b"TFL3, another network")
    _, errors = run(capsys, "-m", file, code=3)
    assert errors == [
        "error: there are no predictions of lite0.tflite in evaluation/: write them with python "
        "prediction.py --model=lite0.tflite --data=imagenet"
    ]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three networks on 400 images, one prediction of the last one deleted."""
    directory = tmp_path_factory.mktemp("three")
    found = {}
    for seed, (name, share) in enumerate([("float", 0.7), ("int8", 0.68), ("$x$", 0.2)], start=1):
        predictions = random_predictions(seed, accuracy=share)
        found[name] = without(predictions, [0]) if seed == 3 else predictions
        write(directory / name / "photos", found[name])
    return directory, found


def test_several_artifacts_side_by_side(three, tmp_path, capsys):
    directory, found = three
    paths = [directory / name / "photos" for name in found]
    lines, _ = run(capsys, *paths, f"--output_dir={tmp_path}/new/place")
    assert [line.split()[0] for line in lines[:4]] == [
        "artifact", "float/photos", "int8/photos", "$x$/photos"
    ]  # fmt: skip
    for line, predictions in zip(lines[1:4], found.values(), strict=True):
        top_1 = np.mean(predictions.classes[:, 0] == predictions.labels)
        top_5 = np.mean(
            [a in b for a, b in zip(predictions.labels, predictions.classes, strict=True)]
        )
        cells = line.split()
        assert cells[1:4:2] == ["400", f"{top_1:.2%}"]
        assert cells[5] == f"{top_5:.2%}"
    assert [line.split()[2] for line in lines[1:4]] == ["0", "0", "1"]
    content = json.loads((tmp_path / "new" / "place" / "comparison.json").read_text())
    assert list(content["artifacts"]) == ["float/photos", "int8/photos", "$x$/photos"]
    pair = content["pairs"][0]
    assert lines[6].split() == [
        "float/photos", "int8/photos", f"{pair['agreement']:.2%}", str(pair["only_first_correct"]),
        str(pair["only_second_correct"]), f"{pair['mcnemar']['p_value']:.3g}",
    ]  # fmt: skip
    picture = np.asarray(Image.open(tmp_path / "new" / "place" / "comparison.png").convert("RGB"))
    blue = (picture == (0, 0x72, 0xB2)).all(axis=2)
    # Three networks are three rows of marks in each of the two panels.
    assert count_runs(blue[:, : blue.shape[1] // 2].sum(axis=1) > 5) == 3
    assert count_runs(blue[:, blue.shape[1] // 2 :].sum(axis=1) > 5) == 3


def count_runs(flags):
    return int(flags[0]) + int(np.sum(~flags[:-1] & flags[1:]))


def test_the_classes_of_the_data_alone(tmp_path, capsys):
    labels = np.random.default_rng(3).choice([1, 4], 400)
    write(tmp_path / "wide", random_predictions(top=12, labels=labels, accuracy=0.3))
    run(capsys, tmp_path / "wide", "--worst=0")
    of_all = json.loads((tmp_path / "wide" / "accuracy.json").read_text())
    run(capsys, tmp_path / "wide", "--worst=0", "--classes=subset")
    of_data = json.loads((tmp_path / "wide" / "accuracy.json").read_text())
    assert of_data["top_1"] > of_all["top_1"] + 0.2
    assert of_data["top_5"] == 1.0
    assert (of_all["competing_classes"], of_data["competing_classes"]) == (12, 2)
    write(tmp_path / "narrow", random_predictions(labels=labels, accuracy=0.3))
    _, errors = run(capsys, tmp_path / "narrow", "--classes=subset", code=3)
    assert errors[0].startswith(f"error: {tmp_path}/narrow: none of the 5 best classes of ")
    assert errors[0].endswith("predict with --classes=subset")


def test_a_row_that_is_deleted_from_the_table_counts_as_wrong(tmp_path, capsys):
    """A line of predictions.csv, as a text editor removes it."""
    predictions = random_predictions(accuracy=1.0, format="csv")
    directory = write(tmp_path / "photos", predictions)
    run(capsys, directory, "--worst=0")
    assert (directory / "results.txt").read_text().splitlines()[2] == "TOP1 : 1.000000"
    path = directory / "predictions.csv"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rows[:31] + rows[32:]))
    lines, _ = run(capsys, directory, "--worst=0")
    assert "Missing predictions: 1, counted as wrong; first 0030.jpg" in lines
    assert lines[-5:-1] == ["Accuracy", "DATA CNT : 400", "TOP1 : 0.997500", "TOP5 : 0.997500"]


MISTAKES = {
    "nothing": ([], 2, "give --model=MODEL, or directories that prediction.py has written"),
    "two ways": (["{artifact}", "-m", "lenet"], 2, "give directories of predictions, or --model"),
    "one twice": (["{artifact}", "{artifact}/../pets"], 2, "is given twice"),
    "a page of several": (["{artifact}", "{tmp}", "--worst=5"], 2, "--worst has no effect with"),
    "a model that is not asked": (
        ["-m", "vgg_16", "-d", "{artifact}"],
        2,
        "--data={artifact} holds predictions of ",
    ),
    "no predictions": (["{tmp}"], 3, "{tmp} holds no predictions (no manifest.json)"),
    "labels of ImageNet": (["{artifact}", "--real_labels={tmp}/r"], 3, "{tmp}/r cannot be read"),
    "a directory that is a file": (
        ["{artifact}", "--worst=0", "--output_dir={tmp}/file"],
        3,
        "error: cannot write {tmp}/file/accuracy.json: File exists; make room, or give another",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_in_one_line(artifact, tmp_path, capsys, mistake):
    argv, code, text = MISTAKES[mistake]
    (tmp_path / "file").touch()
    places = {"artifact": artifact[0], "tmp": tmp_path}
    lines, errors = run(capsys, *(word.format(**places) for word in argv), code=code)
    assert len(errors) == 1
    assert text.format(**places) in errors[0]
    assert not any(line.startswith("Written") for line in lines)


def test_a_full_disk_leaves_no_half_file(artifact, tmp_path, capsys):
    for name in ("accuracy.json", "worst.html"):
        (tmp_path / f".{name}.partial").symlink_to("/dev/full")
    _, errors = run(capsys, artifact[0], f"--output_dir={tmp_path}", code=3)
    assert f"cannot write {tmp_path}/accuracy.json: No space left on device" in errors[0]
    assert not list(tmp_path.glob("[!.]*"))


def test_labels_that_are_not_known(tmp_path, capsys):
    predictions = random_predictions()
    unknown = dataclasses.replace(predictions, labels=predictions.labels * 0 - 1)
    _, errors = run(capsys, write(tmp_path / "unknown", unknown), code=3)
    expected = (
        f"error: {tmp_path}/unknown: no image has a known class, so that there is no accuracy"
    )
    assert errors == [expected]
