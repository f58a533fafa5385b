"""The table of `python -m benchmarks.own_photos.quantization`, from results that are there."""

from __future__ import annotations

import json

import pytest

from benchmarks.own_photos import quantization
from common.errors import DataError
from exporters.int8.agreement import Agreement
from exporters.int8.calibration import ImageSet, Sample
from inference.signature import Signature
from inference.view import View

RUNS = {
    "lite0-1": [("float", 50.0, None), ("INT8", 40.0, 90.0)],
    "lite0-2": [("float", 52.0, None), ("INT8", 44.0, 96.0)],
    "digits-1": [("float", 99.0, None), ("INT8", 98.0, 99.0)],
    "digits-2": [("float", 99.0, None), ("INT8", 99.0, 100.0)],
}


@pytest.fixture
def directory(tmp_path):
    """Letters, and finished runs of two networks with two seeds each."""
    (tmp_path / "letters").mkdir()
    for name, rows in RUNS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.json").write_text(json.dumps(rows))
    return tmp_path


def test_finished_runs_are_not_run_again_and_make_the_table(directory, capsys, monkeypatch):
    """Rows are mean and standard deviation of the seeds: that of 40 and 44 is sqrt(8) = 2.83."""

    def no_call(arguments):
        raise DataError(str(arguments))

    monkeypatch.setattr(quantization, "call", no_call)
    flags = [str(directory), "--only", "lite0", "digits"]
    assert quantization.main([*flags, "--seeds=2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-4:] == [
        "| EfficientNet-Lite0, letters, 64 px | float | 51.0 ± 1.4 | 50.0, 52.0 | - |",
        "| EfficientNet-Lite0, letters, 64 px | INT8 | 42.0 ± 2.8 | 40.0, 44.0 | 93.0 ± 4.2 |",
        "| EfficientNet-Lite0, digits, 32 px | float | 99.0 ± 0.0 | 99.0, 99.0 | - |",
        "| EfficientNet-Lite0, digits, 32 px | INT8 | 98.5 ± 0.7 | 98.0, 99.0 | 99.5 ± 0.7 |",
    ]
    assert quantization.main([*flags, "--seeds=3"]) == 3
    assert "--pretrained" in capsys.readouterr().err


@pytest.mark.parametrize("unseen", ["", Agreement.unseen])
def test_the_line_of_an_export_is_read(unseen):
    signature = Signature("lenet", 28, ("a", "b"), View())
    images = ImageSet(
        [Sample(bytes, 0, 0)] * 1204, signature, "of the validation split of data/top-1 5% -> 6%"
    )
    line = str(Agreement(images, 1203, 1204, (602, 301), 0.1, unseen))
    found = quantization._ANSWERS.search(line)
    assert found is not None
    assert found.groups() == ("1,203", "1,204", "50.00", "25.00")
