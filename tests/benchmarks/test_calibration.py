"""The table and the picture of the study of calibration."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks import calibration
from exporters.int8.agreement import Agreement
from exporters.int8.calibration import ImageSet, Sample
from inference.signature import Signature
from inference.view import View

SIGNATURE = Signature("lenet", 28, ("a", "b"), View())


def _agreement(num_same: int, num_labeled: int, num_correct: tuple[int, int]) -> Agreement:
    samples = [Sample(bytes, 0, 0)] * 200
    images = ImageSet(samples, SIGNATURE, "of a test")
    return Agreement(images, num_same, num_labeled, num_correct, 0.0)


def test_top_1_where_all_classes_are_known(tmp_path: Path):
    results = {
        1: [_agreement(0, 200, (190, right)) for right in (100, 20, 40)],
        500: [_agreement(0, 200, (190, right)) for right in (188, 189, 190)],
    }
    assert calibration.table(results).splitlines() == [
        "| images | top-1, median | lowest | highest |",
        "|---:|---:|---:|---:|",
        "| 1 | 20.00% | 10.00% | 50.00% |",
        "| 500 | 94.50% | 94.00% | 95.00% |",
        "| the network | 95.00% | | |",
    ]
    calibration.draw(results, "lenet", tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (840, 480)


def test_the_networks_class_where_some_are_not():
    table = calibration.table({4: [_agreement(150, 199, (190, 180))]})
    assert "| 4 | 75.00% | 75.00% | 75.00% |" in table
    assert "the network's first class" in table


def test_mistakes_are_one_line(capsys):
    assert calibration.main([]) == 2
    error = "error: give the weights: --pretrained or --train_dir=DIR, one of them\n"
    assert capsys.readouterr().err == error
    with pytest.raises(SystemExit):
        calibration.main(["--train_dir=x", "--numbers=0"])
    assert "'0' is not a whole number of 1 or more" in capsys.readouterr().err
