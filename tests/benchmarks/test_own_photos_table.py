"""The table of `make own-photos`, from results that are there: nothing is trained here."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from benchmarks.own_photos import table
from benchmarks.own_photos.table import Result

EVALUATION = {
    "top_1": 0.8,
    "classes": [
        {"name": "b", "correct": 1, "examples": 4},
        {"name": "q", "correct": 2, "examples": 2},
        {"name": "a", "correct": 9, "examples": 9},
    ],
}


@pytest.fixture
def directory(tmp_path):
    """Letters, and finished runs of two variants with two seeds each."""
    (tmp_path / "letters").mkdir()
    values = {
        "base-1": (0.9, 0.8),
        "base-2": (0.94, 0.9),
        "flip-1": (0.8, 0.5),
        "flip-2": (0.8, 0.4),
    }
    for name, (top_1, mirrored) in values.items():
        (tmp_path / name).mkdir()
        result = Result(top_1, mirrored, 60.0)._asdict()
        (tmp_path / name / "result.json").write_text(json.dumps(result))
    counts = {"train": 2400, "validation": 300, "test": 300}
    record = {"starts": [{"data": {"examples": counts}}]}
    (tmp_path / "base-1" / "run.json").write_text(json.dumps(record))
    return tmp_path


def test_finished_runs_are_not_run_again_and_make_the_table(directory, capsys, monkeypatch):
    def no_call(arguments):
        raise AssertionError(arguments)

    monkeypatch.setattr(table, "call", no_call)
    assert table.main([str(directory), "--seeds=2", "--variants=base,flip"]) == 0
    printed = capsys.readouterr().out.splitlines()
    # The standard deviation of 90 and 94 is sqrt(8) = 2.83.
    assert "| base: ImageNet's weights, no flip | 92.0 ± 2.8 | 85.0 ± 7.1 | 60 |" in printed
    assert "| flip on | 80.0 ± 0.0 | 45.0 ± 7.1 | 60 |" in printed
    page = (directory / "own_photos.md").read_text()
    assert page.splitlines() == printed[: len(page.splitlines())]
    with Image.open(directory / "own_photos.png") as picture:
        assert picture.format == "PNG"


def test_the_mirrored_letters_are_counted_together():
    assert table._of_eval_json(EVALUATION, 1.23) == Result(0.8, 3 / 6, 1.2)


def test_an_unknown_variant_is_code_2_and_a_failed_program_code_3(directory, capsys):
    with pytest.raises(SystemExit) as caught:
        table.main([str(directory), "--variants=base,none"])
    assert caught.value.code == 2
    (directory / "base-1" / "result.json").unlink()  # the letters are no folders of images
    assert table.main([str(directory), "--seeds=1", "--variants=base"]) == 3
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
