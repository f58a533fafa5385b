"""metrics.csv: what a run computed, a row a report, the same bits whether or not it was resumed.

It has no column that a clock decides (images/s and times are in the events and in run.json), and
numbers are written so that reading them back gives the same float. A row belongs to a training
report or to an evaluation; the cells of the other kind are empty.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from common import files
from common.errors import DataError

COLUMNS = (
    "global_step",
    "epoch",
    "learning_rate",
    "total_loss",
    "cross_entropy",
    "aux_cross_entropy",
    "weight_decay",
    "gradient_norm",
    "top_1",
    "top_5",
    "eval_top_1",
    "eval_top_5",
    "eval_loss",
)
_HEADER = ",".join(COLUMNS)


class MetricsLog:
    """A context in which rows are appended to `path`; each is in the file when `append` returns.

    Opening takes off what a killed process left of its last line.

    Raises:
      DataError: the file is another table, or damaged elsewhere than at its end.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._rewrite(_whole_rows(self.path))

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def append(self, global_step: int, **values: float | None) -> None:
        """Add a row for `global_step`; columns that are not given, or None, stay empty.

        Raises:
          ValueError: a column that there is not.
          DataError: the disk is full.
        """
        unknown = set(values) - set(COLUMNS)
        if unknown:
            raise ValueError(f"{self.path.name} has no column {', '.join(sorted(unknown))}")
        cells = [_cell(values.get(column)) for column in COLUMNS[1:]]
        with files.write_errors(self.path):
            self._file.write(",".join([str(int(global_step)), *cells]) + "\n")
            self._file.flush()

    def rewind(self, global_step: int) -> None:
        """Drop the rows after `global_step`, from where the run goes on; all of them at 0."""
        self.close()
        rows = _whole_rows(self.path)
        self._rewrite([row for row in rows if int(row.split(",")[0]) <= global_step])

    def sync(self) -> None:
        """Have the disk hold the rows: call it before a checkpoint, for the case of a power cut."""
        with files.write_errors(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        # What a full disk did not take is written once more.
        with files.write_errors(self.path):
            self._file.close()

    def _rewrite(self, rows: Sequence[str]) -> None:
        """Replaces the file atomically and continues at its end."""
        with files.write_errors(self.path):
            files.write_text(self.path, "".join(f"{line}\n" for line in (_HEADER, *rows)))
            self._file = open(self.path, "a", encoding="ascii", newline="\n")  # noqa: SIM115


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """The rows of a metrics.csv, without their empty cells; [] if there is none.

    A file that is being written may be read: an unfinished last line is left out.

    Raises:
      DataError: as MetricsLog.
    """
    return [
        {name: float(cell) for name, cell in zip(COLUMNS, row.split(","), strict=True) if cell}
        for row in _whole_rows(Path(path))
    ]


def _whole_rows(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("ascii", errors="replace")
    except FileNotFoundError:
        return []
    # What follows the last line feed is half a line, or empty.
    header, *rows = text.split("\n")[:-1] or [_HEADER]
    if header.rstrip("\r") != _HEADER:
        raise DataError(
            f"{path} has other columns than this version writes: move it out of the way"
        )
    rows = [row.rstrip("\r") for row in rows]
    for number, row in enumerate(rows, start=2):
        if not _is_row(row):
            raise DataError(f"{path}, line {number}, is damaged: repair it or move the file away")
    return rows


def _is_row(line: str) -> bool:
    step, *cells = line.split(",")
    if not step.isdecimal() or len(cells) != len(COLUMNS) - 1:
        return False
    try:
        return all(cell == "" or isinstance(float(cell), float) for cell in cells)
    except ValueError:
        return False


def _cell(value: float | None) -> str:
    # repr of a Python float is the shortest text that reads back as the same float.
    return "" if value is None else repr(float(value))
