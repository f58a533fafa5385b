"""The story of a prediction: open the network and the data set, answer what is missing, write.

A prediction that was stopped or killed continues with the same command: answered parts are kept in
`parts/` until the table is written. Answers that were deleted from a table are computed again.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import files
from common.errors import DataError, Stopped
from common.process import StopSignal
from common.progress import ProgressLine, clock
from inference.network import Network
from inference.predictions import per_image, table, workers
from inference.predictions.predictor import Task
from inference.predictions.sources.dataset import DataSet
from inference.predictions.table import UNKNOWN_CLASS, Predictions, Rows
from inference.predictions.workers import Part

_LOCK_FILE = ".lock"
_PARTS = "parts"
_MOST_BATCHES_IN_A_PART = 8
_PARTS_OF_A_SMALL_SET = 64
_ADVICE = "give another --output_dir, or remove this one"


@dataclass(frozen=True)
class Output:
    """Where and how the answers are written."""

    directory: Path
    per_image_files: bool = False
    num_processes: int = 1


def predict(
    task: Task,
    network: Network,
    data: DataSet,
    labels: np.ndarray,
    manifest: Mapping[str, Any],
    output: Output,
) -> Predictions:
    """Answers every image that has no answer yet, and writes the artifact.

    Args:
        labels: int32, the network's class of each image.
        manifest: the whole content of manifest.json.

    Raises:
        DataError: the directory holds another prediction, is in use, or cannot be written.
        Stopped: a signal asked to stop; what is answered is kept.
        RunError: the network fails.
    """
    images = np.array([image.name for image in data.images], np.str_)
    directory = output.directory
    with _reserved(directory), ProgressLine() as line:
        _begin(directory, manifest, images, labels)
        known = _Known(directory, manifest, images)
        parts = _parts(data, task.batch_size)
        missing = [part for part in parts if not known.has_all(part)]
        if missing:
            _answer(task, network, missing, known, output, line)
        else:
            line.log(f"{directory} holds all {len(images):,} predictions")
        known.write_table()
        found = table.read(directory)
        if output.per_image_files:
            per_image.write(found, directory)
    return found


class _Known:
    """The answers that are known, in memory and in a directory."""

    def __init__(self, directory: Path, manifest: Mapping[str, Any], images: np.ndarray):
        """Reads what an earlier run has written.

        Raises:
            DataError: a file is damaged.
        """
        self._directory, self._manifest = directory, manifest
        self._images = images
        self._classes = np.full([len(images), manifest["top"]], UNKNOWN_CLASS, np.int32)
        self._probabilities = np.full(self._classes.shape, np.nan, np.float32)
        parts = sorted((directory / _PARTS).glob("part-*.parquet"))
        for path in (table.table_of(directory, manifest), *parts):
            if path.exists():
                self._add(self._read(path), path)

    def has_all(self, part: Part) -> bool:
        """Returns whether all images of a part have answers."""
        rows = self._classes[part.first : part.first + len(part.images)]
        return bool((rows[:, 0] != UNKNOWN_CLASS).all())

    def add_part(self, number: int, rows: Rows) -> None:
        """Adds the answers to a part and writes them.

        Raises:
            DataError: the file cannot be written.
        """
        path = self._directory / _PARTS / f"part-{number:05d}.parquet"
        with files.write_errors(path):
            path.parent.mkdir(exist_ok=True)
        table.write_rows(path, rows)
        self._add(rows, path)

    def write_table(self) -> None:
        """Writes all answers to the table, unless it holds them, and removes the parts."""
        path, parts = table.table_of(self._directory, self._manifest), self._directory / _PARTS
        if path.exists() and not parts.exists():
            return
        done = self._classes[:, 0] != UNKNOWN_CLASS
        rows = Rows(self._images[done], self._classes[done], self._probabilities[done])
        table.write_rows(path, rows)
        shutil.rmtree(parts, ignore_errors=True)

    def _read(self, path: Path) -> Rows:
        try:
            return table.read_rows(path, self._manifest["top"], len(self._manifest["class_names"]))
        except DataError as error:
            raise DataError(f"{error}; remove it to have its images predicted again") from error

    def _add(self, rows: Rows, path: Path) -> None:
        places = table.places_of(rows, self._images, path)
        self._classes[places], self._probabilities[places] = rows.classes, rows.probabilities


def _answer(
    task: Task,
    network: Network,
    parts: Sequence[Part],
    known: _Known,
    output: Output,
    line: ProgressLine,
) -> None:
    """Answers the parts and writes each."""
    progress = _Progress(line, sum(len(part.images) for part in parts))
    num_processes = min(output.num_processes, len(parts))
    with StopSignal() as stop:

        def on_images(number: int) -> None:
            progress.advance(number)
            if stop.requested:
                raise Stopped(
                    f"stopped by {stop.requested}: the same command continues in {output.directory}"
                )

        found = workers.answers(task, parts, network, num_processes, on_images)
        with contextlib.closing(found):
            for part, answer in found:
                known.add_part(part.number, answer.rows)
                for problem in answer.unreadable:
                    line.clear()
                    print(f"error: {problem}", file=sys.stderr, flush=True)
    progress.end()


class _Progress:
    def __init__(self, line: ProgressLine, total: int):
        self._line, self._total, self._number = line, total, 0
        self._started = time.monotonic()
        line.log(f"predicting {total:,} images")
        line.restart()

    def advance(self, number: int) -> None:
        self._number += number
        if not number:
            return
        seconds = max(time.monotonic() - self._started, 1e-9)
        left = clock((self._total - self._number) * seconds / self._number)
        self._line.show(
            f"{self._number:,} of {self._total:,} images, {self._number / seconds:,.1f} images/s, "
            f"{left} left"
        )

    def end(self) -> None:
        seconds = max(time.monotonic() - self._started, 1e-9)
        speed = self._number / seconds
        self._line.log(f"{self._number:,} images in {clock(seconds)}, {speed:,.1f} images/s")


def _parts(data: DataSet, batch_size: int) -> list[Part]:
    """Divides the images: the same parts whatever the number of processes, and batches in them."""
    num_batches = -(-len(data.images) // batch_size)
    batches = min(_MOST_BATCHES_IN_A_PART, -(-num_batches // _PARTS_OF_A_SMALL_SET))
    size = batches * batch_size
    starts = range(0, len(data.images), size)
    return [Part(n, start, data.images[start : start + size]) for n, start in enumerate(starts)]


@contextlib.contextmanager
def _reserved(directory: Path) -> Iterator[None]:
    """Creates the directory and keeps other predictions out of it."""
    with files.write_errors(directory, "give another --output_dir"):
        files.make_writable(directory)
        with files.lock(
            directory / _LOCK_FILE,
            busy=f"another prediction writes to {directory}",
            advice="wait for it, or stop it first",
            warn=lambda text: print(f"warning: {text}", file=sys.stderr),
        ):
            yield


def _begin(
    directory: Path, manifest: Mapping[str, Any], images: np.ndarray, labels: np.ndarray
) -> None:
    """Writes what is expected, unless an earlier run of the same prediction has done so."""
    if not (directory / table.MANIFEST_FILE).exists():
        if (directory / _PARTS).exists() or per_image.exist(directory):
            raise DataError(f"{directory} holds other files: {_ADVICE}")
        table.begin(directory, manifest, images, labels)
        return
    there, expected, true = table.read_expected(directory)
    difference = _difference(_identity(there), _identity(manifest))
    if not difference and not (np.array_equal(expected, images) and np.array_equal(true, labels)):
        difference = f"its {table.IMAGES_FILE} has other images or labels"
    if difference:
        raise DataError(f"{directory} holds another prediction: {difference}; {_ADVICE}")


def _identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what two runs of one prediction have in common: not where the data set lies."""
    data = dict(manifest.get("data", {}))
    for place in ("directory", "images_directory"):
        data.pop(place, None)
    return {**manifest, "data": data}


def _difference(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> str:
    """Describes the first value that differs; "" if none does."""
    for key in dict.fromkeys((*here, *there)):
        old, new = there.get(key), here.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inner = _difference(old, new, f"{prefix}{key} ")
            if inner:
                return inner
        elif old != new:
            return f"its {prefix}{key} is {_short(old)}, and {_short(new)} here"
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}..."


def of_images(data: DataSet, classes: np.ndarray) -> np.ndarray:
    """Returns the network's class of each image: int32 [N].

    Args:
        classes: of each class of the data set.
    """
    return classes[[image.label for image in data.images]].astype(np.int32)
