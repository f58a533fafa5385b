"""The artifact of a prediction: a directory with a manifest, what is expected, and the answers.

    manifest.json         the model, the data set, and how the images were seen
    images.parquet        image, label: every image of the data set, in order
    predictions.parquet   image, class_0, probability_0, class_1...: best first; or predictions.csv

Nothing else is needed to compute an accuracy: neither the model nor the images. An image without a
row in the table has no prediction.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import DataError
from common.files import atomic_file, make_writable, naming, write_errors, write_text

if TYPE_CHECKING:
    import pyarrow

DEFAULT_TOP = 5  # classes in an answer
HOME = Path("evaluation")  # of artifacts by default, HOME/MODEL/DATA
FORMATS = ("parquet", "csv")
# Which classes compete: all of the network, or those that the data set has.
CLASSES = (ALL, SUBSET) = ("all", "subset")
MANIFEST_FILE = "manifest.json"
IMAGES_FILE = "images.parquet"
UNKNOWN_CLASS = -1
_MOST_IN_AN_ANSWER = 1 << 20
# What reading needs of a manifest: each entry with the rule for its value.
_REQUIRED: dict[str, Callable[[Any], bool]] = {
    "model": lambda value: isinstance(value, str),
    "expected": lambda value: type(value) is int and value >= 0,
    "top": lambda value: type(value) is int and 0 < value <= _MOST_IN_AN_ANSWER,
    "class_names": lambda value: (
        isinstance(value, list) and all(isinstance(name, str) for name in value)
    ),
    "format": lambda value: isinstance(value, str) and value in FORMATS,
}
_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "data": lambda value: (
        isinstance(value, dict)
        and isinstance(value.get("directory", ""), str)
        and all(type(number) is int for number in value.get("classes", ()))
    ),
    "classes": lambda value: value in CLASSES,
    "wordnet_ids": lambda value: isinstance(value, list),
}
_SLACK = 1e-3  # a dequantized probability may exceed 1 by a step


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was predicted for each image of a data set.

    Attributes:
        manifest: the content of manifest.json.
        images: str [N], every image that is expected, in the order of the data set.
        labels: int32 [N], the true class of each, counted from 0; -1 if it is not known.
        classes: int32 [N, k], best first; -1 in the rows of images without a prediction.
        probabilities: float32 [N, k] of these classes; NaN in those rows.
    """

    manifest: Mapping[str, Any]
    images: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """Bool [N]: which images have no prediction."""
        return self.classes[:, 0] == UNKNOWN_CLASS


def write(directory: Path, predictions: Predictions) -> None:
    """Writes a whole artifact; an interrupted call leaves none that `read` takes for complete.

    Raises:
        DataError: the directory cannot be written.
    """
    begin(directory, predictions.manifest, predictions.images, predictions.labels)
    done = ~predictions.missing
    rows = Rows(
        predictions.images[done], predictions.classes[done], predictions.probabilities[done]
    )
    write_rows(table_of(directory, predictions.manifest), rows)


def read(directory: Path) -> Predictions:
    """Reads an artifact and checks that its files agree.

    Raises:
        DataError: a file is missing or damaged, an answer is for an image that is not expected, or
            an image is answered twice.
    """
    manifest, images, labels = read_expected(directory)
    path = table_of(directory, manifest)
    if not path.exists():
        raise DataError(
            f"{directory} is not finished ({path.name} is missing): run its prediction.py command "
            "again, which predicts the rest"
        )
    classes = np.full([len(images), manifest["top"]], UNKNOWN_CLASS, np.int32)
    probabilities = np.full(classes.shape, np.nan, np.float32)
    rows = read_rows(path, manifest["top"], len(manifest["class_names"]))
    places = places_of(rows, images, path)
    classes[places], probabilities[places] = rows.classes, rows.probabilities
    return Predictions(manifest, images, labels, classes, probabilities)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a table: images str [n], classes int32 [n, k], probabilities float32 [n, k]."""

    images: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray


def begin(
    directory: Path, manifest: Mapping[str, Any], images: np.ndarray, labels: np.ndarray
) -> None:
    """Writes what is expected: images.parquet, then the manifest. Removes older answers.

    Raises:
        DataError: the directory cannot be written, or two images have one name.
    """
    import pyarrow

    _refuse_duplicates(images, directory / IMAGES_FILE)
    with write_errors(directory):
        make_writable(directory)
        for format in FORMATS:  # an old table must never be read with the new manifest
            table_of(directory, {"format": format}).unlink(missing_ok=True)
        expected = {"image": pyarrow.array(images, pyarrow.string()), "label": labels}
        _write(directory / IMAGES_FILE, pyarrow.table(expected))
        text = json.dumps(dict(manifest), indent=1, ensure_ascii=False)
        write_text(directory / MANIFEST_FILE, text + "\n")


def read_expected(directory: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Returns the manifest, the images and their labels; raises DataError as `read`."""
    manifest = read_manifest(directory)
    path = directory / IMAGES_FILE
    table = _read(path, {"image": "string", "label": "int32"})
    images, labels = _strings(table["image"]), table["label"].to_numpy().astype(np.int32)
    if len(images) != manifest["expected"]:
        raise DataError(
            f"{path} lists {len(images):,} images, {MANIFEST_FILE} {manifest['expected']:,}: they "
            "are not of one prediction"
        )
    if len(labels) and not UNKNOWN_CLASS <= labels.min() <= labels.max() < len(
        manifest["class_names"]
    ):
        raise DataError(f"{path} has a label that is no class of {manifest['model']}")
    _refuse_duplicates(images, path)
    return manifest, images, labels


def read_manifest(directory: Path) -> dict[str, Any]:
    """Returns the content of manifest.json.

    Raises:
        DataError: there is none, or it is not one of prediction.py.
    """
    path = directory / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{directory} holds no predictions (no {MANIFEST_FILE}): prediction.py --data=... "
            "writes them"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    entries = manifest if isinstance(manifest, dict) else {}
    wrong = [key for key, is_good in _REQUIRED.items() if not is_good(entries.get(key))]
    wrong += [
        key for key, is_good in _OPTIONAL.items() if key in entries and not is_good(entries[key])
    ]
    if wrong:
        raise DataError(f"{path} is not a manifest of predictions: {wrong[0]}")
    return manifest


def table_of(directory: Path, manifest: Mapping[str, Any]) -> Path:
    """Returns the path of the table of answers."""
    return directory / f"predictions.{manifest['format']}"


def write_rows(path: Path, rows: Rows) -> None:
    """Writes a table of answers, whole or not at all, in the format of the suffix.

    Raises:
        DataError: the file cannot be written.
    """
    import pyarrow

    columns: dict[str, Any] = {"image": pyarrow.array(rows.images, pyarrow.string())}
    for rank in range(rows.classes.shape[1]):
        columns[f"class_{rank}"] = rows.classes[:, rank].astype(np.int32)
        columns[f"probability_{rank}"] = rows.probabilities[:, rank].astype(np.float32)
    with write_errors(path):
        _write(path, pyarrow.table(columns))


def read_rows(path: Path, top: int, num_classes: int) -> Rows:
    """Reads a table of answers and checks its values.

    Raises:
        DataError: the file cannot be read, has other columns, or values that are no classes and
            probabilities, best first.
    """
    kinds = {"image": "string"}
    for rank in range(top):
        kinds |= {f"class_{rank}": "int32", f"probability_{rank}": "float32"}
    table = _read(path, kinds)

    def matrix(name: str, dtype: type) -> np.ndarray:
        columns = [table[f"{name}_{rank}"].to_numpy() for rank in range(top)]
        return np.stack(columns, axis=1).astype(dtype).reshape(-1, top)

    rows = Rows(
        _strings(table["image"]), matrix("class", np.int32), matrix("probability", np.float32)
    )
    is_class = (rows.classes >= 0) & (rows.classes < num_classes)
    is_probability = (rows.probabilities >= 0) & (rows.probabilities <= 1 + _SLACK)
    is_sorted = (np.diff(rows.probabilities, axis=1) <= 0).all(axis=1)
    is_once = (np.diff(np.sort(rows.classes, axis=1), axis=1) > 0).all(axis=1)
    good = is_class.all(axis=1) & is_probability.all(axis=1) & is_sorted & is_once
    if not good.all():
        image = rows.images[int(np.argmin(good))]
        raise DataError(
            f"{path}: the row of {image} has no classes from 0 to {num_classes - 1}, each once, "
            "with probabilities, best first: the file is damaged"
        )
    return rows


def places_of(rows: Rows, images: np.ndarray, path: Path) -> np.ndarray:
    """Returns the place of each row among the images that are expected: int64 [n].

    Args:
        path: the table, for messages.

    Raises:
        DataError: a row is of an image that is not expected, or two rows are of one image.
    """
    place_of = {image: place for place, image in enumerate(images)}
    unknown = [image for image in rows.images if image not in place_of]
    if unknown:
        raise DataError(f"{path} has a row of {unknown[0]}, which {IMAGES_FILE} does not list")
    _refuse_duplicates(rows.images, path)
    return np.array([place_of[image] for image in rows.images], np.int64)


def _refuse_duplicates(images: Iterable[str], path: Path) -> None:
    twice = [image for image, number in Counter(images).items() if number > 1]
    if twice:
        raise DataError(f"{path} lists {twice[0]} twice: each image has one row, remove the other")


def _strings(column: pyarrow.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=np.str_)


def _write(path: Path, table: pyarrow.Table) -> None:
    """Writes a table atomically: it is encoded in memory, 40 bytes a row, then written at once."""
    encoded = io.BytesIO()
    if path.suffix == ".csv":
        from pyarrow import csv

        csv.write_csv(table, encoded)
    else:
        from pyarrow import parquet

        parquet.write_table(table, encoded)
    with atomic_file(path) as file:
        file.write(encoded.getbuffer())


def _read(path: Path, kinds: Mapping[str, str]) -> pyarrow.Table:
    """Reads a table with exactly these columns, of these Arrow types, without empty cells."""
    import pyarrow

    try:
        with naming(path):
            content = pyarrow.BufferReader(path.read_bytes())
        table = _decode(path, content, kinds)
        if table.column_names != list(kinds):
            raise DataError(
                f"{path} has the columns {', '.join(table.column_names)}; expected are "
                f"{', '.join(kinds)}"
            )
        schema = pyarrow.schema([(name, kind) for name, kind in kinds.items()])
        table = table.cast(schema)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason}") from error
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
    empty = [name for name in kinds if table[name].null_count]
    if empty:
        raise DataError(f"{path} has an empty cell in the column {empty[0]}")
    return table


def _decode(path: Path, content: Any, kinds: Mapping[str, str]) -> pyarrow.Table:
    if path.suffix != ".csv":
        from pyarrow import parquet

        return parquet.read_table(content)
    from pyarrow import csv

    return csv.read_csv(
        content,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=dict(kinds)),
    )
