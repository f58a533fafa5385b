"""The CSV file: whole after every row, and refused if it is another one."""

from __future__ import annotations

import csv

import pytest

from benchmarks.bulk import table
from benchmarks.bulk.table import Row
from common.errors import DataError

ROWS = [
    Row("lenet", "a run, the first", "--a=1 --b='2 3'", top_1="0.5", examples="10"),
    Row("resnet50", "resnet50", "", error='exit code 3: "x" is\nno checkpoint'),
]


def test_rows_come_back_as_they_were_and_other_programs_read_them(tmp_path):
    path = tmp_path / "results.csv"
    assert table.read(path) == []
    table.write(path, ROWS[:1])
    table.write(path, ROWS)
    assert table.read(path) == ROWS
    with path.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["source"] for row in read] == [row.source for row in ROWS]
    assert read[0]["top_1"] == "0.5"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.csv"]


@pytest.mark.parametrize("text", ["", "model,top1\nlenet,0.5\n", "\x00"])
def test_another_table_is_refused(tmp_path, text):
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="is no table of this program"):
        table.read(path)


def test_a_line_that_was_cut_is_named(tmp_path):
    path = tmp_path / "results.csv"
    table.write(path, ROWS[:1])
    path.write_text(path.read_text() + "lenet,run\n")
    with pytest.raises(DataError, match="line 3 has 2 cells"):
        table.read(path)
