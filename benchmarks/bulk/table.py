"""The table: a CSV file with a row for each network, whole after every row."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common import files
from common.errors import DataError


@dataclass(frozen=True)
class Row:
    """One network. Cells are text, empty where nothing is known.

    Attributes:
        name: of the network.
        source, flags: identify the row; see `networks.Entry`.
        checkpoint, weights: the checkpoint's name; "moving average" or "raw".
        batch_size: images per tower; half of those asked for, and so on, where memory ended.
        top_1, top_5: shares of the examples, 0..1, as in eval.json.
        parameters, madds: as in docs/models.md, of this number of classes and this image size.
        images_per_sec: of all batches but the first.
        seconds: from the start of the process to its end.
        error: why there is no accuracy.
    """

    name: str
    source: str
    flags: str
    checkpoint: str = ""
    weights: str = ""
    image_size: str = ""
    batch_size: str = ""
    examples: str = ""
    top_1: str = ""
    top_5: str = ""
    parameters: str = ""
    madds: str = ""
    images_per_sec: str = ""
    seconds: str = ""
    error: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the row."""
        return self.source, self.flags


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


def read(path: Path) -> list[Row]:
    """Returns the rows of a file, none if it does not exist.

    Raises:
        DataError: the file cannot be read, or is another table.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    lines = list(csv.reader(io.StringIO(text)))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise DataError(f"{path} is no table of this program: give another --output")
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(COLUMNS):
            raise DataError(f"{path}: line {number} has {len(cells)} cells, not {len(COLUMNS)}")
    return [Row(*cells) for cells in lines[1:]]


def write(path: Path, rows: Iterable[Row]) -> None:
    """Replaces the file in one step: a crash leaves the old table or the new one.

    Raises:
        DataError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *(dataclasses.astuple(row) for row in rows)])
    with files.write_errors(path, "make room, or give another --output"):
        files.write_text(path, text.getvalue())
