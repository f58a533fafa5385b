"""metrics.csv: one row per step that is reported, evaluated, or both, in the order of the steps.

The bytes are the same whether or not the run was resumed: no column depends on a clock (images/s
and times are in the events and in run.json), and numbers read back as the same float. Cells of what
was not done at a step are empty. A run on images of several labels has one more column, and so has
one whose training images change their size.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

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
MULTI_LABEL_COLUMNS = (*COLUMNS, "eval_mean_average_precision")
# Of asynchronous training, and of training images of several sizes. A table that has them once
# keeps them.
STALENESS = ("staleness_mean", "staleness_max")
IMAGE_SIZE = ("image_size",)
_MORE = (*STALENESS, *IMAGE_SIZE)
_TABLES = tuple(
    (*columns, *staleness, *size)
    for columns in (COLUMNS, MULTI_LABEL_COLUMNS)
    for staleness in ((), STALENESS)
    for size in ((), IMAGE_SIZE)
)


class MetricsLog(contextlib.AbstractContextManager):
    """A context that appends rows to `path`; each is in the file when `append` returns.

    Opening removes the unfinished last line of a killed process.

    Raises:
        DataError: the file is another table, or damaged before its last line.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str] = COLUMNS):
        self.path = Path(path)
        earlier, rows = _whole_rows(self.path)
        asked_for = (name for name in _MORE if name in columns or name in earlier)
        self._columns = (*(name for name in columns if name not in _MORE), *asked_for)
        if earlier != self._columns:
            rows = [_row(self._columns, _step_of(row), _parse(earlier, row)) for row in rows]
        self._rewrite(rows)

    def __exit__(self, *_) -> None:
        self.close()

    def append(self, global_step: int, **values: float | None) -> None:
        """Appends a row, or fills cells of the last row if it is of the same step.

        Columns that are missing or None stay empty.

        Raises:
            ValueError: an unknown column.
            DataError: the disk is full.
        """
        unknown = set(values) - set(self._columns)
        if unknown:
            raise ValueError(f"{self.path.name} has no column {', '.join(sorted(unknown))}")
        if not self.path.exists():
            logging.warning("%s was deleted: its rows continue at step %d", self.path, global_step)
            self.close()
            self._rewrite([])
        if global_step == self._last_step:
            self.close()
            *rows, last = _whole_rows(self.path)[1]
            given = {name: value for name, value in values.items() if value is not None}
            self._rewrite(
                [*rows, _row(self._columns, global_step, {**_parse(self._columns, last), **given})]
            )
            return
        with files.write_errors(self.path):
            self._file.write(_row(self._columns, global_step, values) + "\n")
            self._file.flush()
        self._last_step = global_step

    @property
    def last_step(self) -> int:
        """The step of the last row; 0 without any."""
        return self._last_step or 0

    def rewind(self, global_step: int) -> None:
        """Drops the rows after `global_step`, at which the run resumes."""
        self.close()
        rows = _whole_rows(self.path)[1]
        self._rewrite([row for row in rows if _step_of(row) <= global_step])

    def sync(self) -> None:
        """Flushes the rows to the disk; call it before a checkpoint, in case of a power cut.

        Any thread may call it: it opens the file that has the name now.
        """
        with files.write_errors(self.path), contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        # Closing writes the buffer again that a full disk has rejected.
        with files.write_errors(self.path):
            self._file.close()

    def _rewrite(self, rows: Sequence[str]) -> None:
        """Replaces the file atomically and continues at its end."""
        with files.write_errors(self.path):
            files.make_directory(self.path.parent)
            files.write_text(
                self.path, "".join(f"{line}\n" for line in (",".join(self._columns), *rows))
            )
            self._file = open(self.path, "a", encoding="ascii", newline="\n")  # noqa: SIM115
        self._last_step = _step_of(rows[-1]) if rows else None


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Reads the rows of a metrics.csv, without their empty cells; [] if the file is missing.

    The file may be being written: an unfinished last line is skipped.

    Raises:
        DataError: as MetricsLog.
    """
    columns, rows = _whole_rows(Path(path))
    return [_parse(columns, row) for row in rows]


def _whole_rows(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Returns the columns and the rows of a file; no row if it is missing."""
    try:
        text = path.read_bytes().decode("ascii", errors="replace")
    except FileNotFoundError:
        return COLUMNS, []
    # After the last line feed there is half a line, or nothing.
    header, *rows = text.split("\n")[:-1] or [",".join(COLUMNS)]
    columns = tuple(header.rstrip("\r").split(","))
    if columns not in _TABLES:
        raise DataError(
            f"{path} has other columns than this version writes: move it out of the way"
        )
    rows = [row.rstrip("\r") for row in rows]
    for number, row in enumerate(rows, start=2):
        try:
            _step_of(row)
            _parse(columns, row)
        except ValueError:
            raise DataError(
                f"{path}, line {number}, is damaged: repair it or move the file away"
            ) from None
    return columns, rows


def _row(columns: Sequence[str], global_step: int, values: Mapping[str, float | None]) -> str:
    # repr of a Python float is the shortest text that reads back as the same float.
    numbers = (values.get(column) for column in columns[1:])
    cells = ["" if number is None else repr(float(number)) for number in numbers]
    return ",".join([str(int(global_step)), *cells])


def _step_of(row: str) -> int:
    return int(row.partition(",")[0])


def _parse(columns: Sequence[str], row: str) -> dict[str, float]:
    """Returns the cells that are not empty; raises ValueError if the row is damaged."""
    return {name: float(cell) for name, cell in zip(columns, row.split(","), strict=True) if cell}
