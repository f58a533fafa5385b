"""confusion.png, whose pixels are looked at, and classes.json of a run."""

from __future__ import annotations

import json
import string

import numpy as np
import pytest
from PIL import Image

from benchmark_cnn.class_report import Confusion
from benchmark_cnn.reporting import confusion
from benchmark_cnn.reporting.confusion import CLASSES_FILE, PICTURE, ClassLog
from tests.benchmark_cnn.reporting.test_curves import VERMILION, count, pixels

LETTERS = list(string.ascii_lowercase)


def counted(num_classes, per_class, wrong=()):
    """Every class `per_class` times, except that `wrong` lists (true, predicted) of errors."""
    true = np.repeat(np.arange(num_classes), per_class)
    predicted = true.copy()
    for number, (of, as_what) in enumerate(wrong):
        predicted[of * per_class + number % per_class] = as_what
    return Confusion.of(true, predicted, num_classes)


def draw(tmp_path, *arguments):
    path = tmp_path / PICTURE
    assert confusion.draw(*arguments, path, "a run") is True
    return pixels(path)


def is_blue(picture):
    return (picture[..., 2] - picture[..., 0]) > 60


def is_orange(picture):
    return (picture[..., 0] - picture[..., 2]) > 20


@pytest.mark.parametrize("number", [2, 100, 1000])
def test_every_number_of_classes_makes_a_picture_that_fits_a_screen(tmp_path, number):
    names = [f"a long name of a $class$ with 100% of {n}" for n in range(number)]
    picture = draw(tmp_path, counted(number, 4, [(0, 1), (1, 0)]), names)
    height, width, _ = picture.shape
    assert 500 <= height <= 2000
    assert 900 <= width <= 2600
    assert count(picture, VERMILION) > 300  # the bars of the two pairs


def test_the_diagonal_is_blue_and_an_error_is_orange_where_it_belongs(tmp_path):
    errors = [(20, 3), (20, 3), (20, 3)]
    matrix = draw(tmp_path, counted(26, 4, errors), LETTERS)[:, :1060]  # without the bars
    rows, columns = np.nonzero(is_blue(matrix))
    low, high = columns.min(), columns.max()
    cell = (high - low + 1) / 26
    right, down = columns - low, rows - rows.min()
    assert np.abs(right - down).max() < cell  # nothing but the diagonal is blue
    assert len(set((right / cell).astype(int))) == 26
    found_rows, found_columns = np.nonzero(is_orange(matrix))
    assert int((np.median(found_rows) - rows.min()) / cell) == 20
    assert int((np.median(found_columns) - low) / cell) == 3
    assert np.ptp(found_rows) <= cell
    assert np.ptp(found_columns) <= cell


def test_a_thousand_classes_show_each_error_as_a_dot(tmp_path):
    perfect = draw(tmp_path, counted(1000, 4), [str(n) for n in range(1000)])[:, :1000]
    assert is_orange(perfect).sum() == 0
    errors = [(100, 900), (900, 100), (500, 20)]
    picture = draw(tmp_path, counted(1000, 4, errors), [str(n) for n in range(1000)])[:, :1000]
    rows, columns = np.nonzero(is_orange(picture))
    dots = {
        (round(row / 30), round(column / 30)) for row, column in zip(rows, columns, strict=True)
    }
    assert len(rows) > 3 * 12
    assert len(dots) >= 3


def test_odd_names_and_nothing_predicted_are_drawn(tmp_path):
    true = np.array([0, 1, 1])
    nothing = Confusion.of(true, np.full(3, -1), 3)
    picture = draw(tmp_path, nothing, ["\udcff", "日本", "$x_{"])
    assert count(picture, VERMILION) == 0


def test_a_picture_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    assert confusion.draw(counted(2, 2), ["a", "b"], tmp_path / "no" / PICTURE, "a run") is False
    assert "was not drawn" in caplog.text


def test_a_run_keeps_the_classes_of_its_last_evaluation(tmp_path):
    log = ClassLog(tmp_path, LETTERS)
    log.write(10, counted(26, 4))
    log.write(20, counted(26, 4, [(1, 3), (1, 3), (16, 15)]))
    log.draw("a run")
    assert json.loads((tmp_path / CLASSES_FILE).read_text())["global_step"] == 20
    with Image.open(tmp_path / PICTURE) as image:
        assert image.format == "PNG"
    # A resumed start reads what an earlier one has written.
    resumed = ClassLog(tmp_path, LETTERS)
    lines = [line.split() for line in resumed.lines(20)]
    assert lines[1] == ["50.00%", "2", "of", "4", "b"]
    assert lines[2] == ["75.00%", "3", "of", "4", "q"]
    assert ["2", "of", "4", "b", "taken", "for", "d"] in lines
    assert len([line for line in lines if line[1:4:2] == ["4", "4"]]) == 3  # five in all
    assert resumed.lines(10) == []  # of another step
    (tmp_path / CLASSES_FILE).write_text("{")
    assert resumed.lines(20) == []
    ClassLog(None, LETTERS).write(1, counted(26, 1))
    assert ClassLog(None, LETTERS).lines(1) == []
