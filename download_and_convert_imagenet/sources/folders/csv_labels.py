"""Images of several labels: a folder of images, and a CSV file that says the labels of each.

The CSV has a header. Its first column is the path of an image below the folder. The rest is one
column of labels, separated by | or ; ("cat|dog", nothing for no label), or a column for each class
with 1 or 0. A column called split, with train and validation, divides the images; without one, a
share of them is held out.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.commands import did_you_mean
from common.errors import DataError
from common.paths import one_line
from download_and_convert_imagenet.sources.folders.split_names import kind_of
from download_and_convert_imagenet.sources.folders.tree import scan
from download_and_convert_imagenet.sources.image_source import (
    DEFAULT_VALIDATION_FRACTION,
    TRAIN,
    VALIDATION,
    ImageFile,
    ImageSource,
    LeftOut,
    SourceImage,
)

_LABELS = ("label", "labels", "class", "classes", "tags", "categories")
_SPLIT = ("split", "subset")
_YES, _NO = ("1", "true", "yes", "1.0"), ("0", "false", "no", "0.0", "")
# Data sets that readers treat specially, and no name at all.
_RESERVED_NAMES = ("", "imagenet", "cifar10", "digits")
_SHOWN = 5


class _Row(NamedTuple):
    """A line of the CSV; `split` is "" where there is no such column."""

    number: int
    image: str
    labels: tuple[str, ...]
    split: str


def csv_source(
    root: Path,
    table: Path | None = None,
    validation_fraction: float | None = None,
    *,
    output: Path | None = None,
) -> ImageSource:
    """Lists the images that a CSV file names.

    Classes are labeled in the order of their columns, or of their names.

    Args:
        root: the folder of the images.
        table: the CSV; None for the only .csv in `root`.
        validation_fraction: 0 to 1, of the images of a CSV without a column for the split.
        output: the directory of the shards, which is no folder of images.

    Raises:
        DataError: the CSV has another form, or names images that are not there.
        OSError: a file cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a directory")
    table = table or _only_csv(root)
    classes, rows = _read(table)
    top, left_out = scan(root, output)
    files = {os.path.relpath(i.path, root): i for folder in top.walk() for i in folder.images}
    images = _images(table, root, classes, rows, files)
    named = {row.image for row in rows}
    left_out += (
        LeftOut(file.path, "not in the CSV") for name, file in files.items() if name not in named
    )
    if any(row.split for row in rows):
        if validation_fraction is not None:
            raise DataError(f"{table} has a column for the split: leave the fraction out")
        splits = {
            split: [i for i, row in zip(images, rows, strict=True) if row.split == split]
            for split in (TRAIN, VALIDATION)
        }
    else:
        splits = _hold_out(images, validation_fraction)
    splits = {split: members for split, members in splits.items() if members}
    shown = ", ".join(classes[:_SHOWN]) + (", ..." if len(classes) > _SHOWN else "")
    per_image = sum(len(row.labels) for row in rows) / len(rows)
    notes = [f"classes: {len(classes):,} ({shown}); {per_image:.2f} labels an image on average"]
    notes += _notes_on_classes(splits, classes)
    name = one_line(top.name)
    return ImageSource(
        "folder" if name.lower() in _RESERVED_NAMES else name,
        tuple(classes),
        splits,
        keep_png=True,
        upright=True,
        notes=tuple(notes),
        left_out=tuple(entry for entry in left_out if entry.path != os.fspath(table)),
        is_held_out=not any(row.split for row in rows),
        multi_label=True,
    )


def _only_csv(root: Path) -> Path:
    found = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv")
    if len(found) != 1:
        what = "no .csv file" if not found else f"{len(found)} .csv files"
        raise DataError(f"{root} has {what}: give the one with the labels, --labels=FILE")
    return found[0]


def _read(table: Path) -> tuple[list[str], list[_Row]]:
    """Returns the names of the classes and the rows of the CSV."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no CSV file in UTF-8: {error}") from error
    header = lines[0] if lines else []
    split = next((n for n, name in enumerate(header) if name.lower() in _SPLIT), None)
    columns = [n for n in range(1, len(header)) if n != split]
    if not columns:
        raise DataError(
            f"{table}: its first line is {','.join(header)!r}, not a header like image,labels or "
            "image,cat,dog"
        )
    is_list = len(columns) == 1 and header[columns[0]].lower() in _LABELS
    names = [one_line(header[n]) for n in columns]
    if not is_list and ("" in names or len(set(names)) < len(names)):
        raise DataError(f"{table}: a column has no name, or two have the same name")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(line):
            continue
        if len(line) != len(header):
            raise DataError(
                f"{table}, line {number}: {len(line)} cells under a header of {len(header)}"
            )
        if is_list:
            labels = _separated(line[columns[0]])
        else:
            cells = [line[n] for n in columns]
            labels = _marked(f"{table}, line {number}", names, cells)
        part = "" if split is None else _split(f"{table}, line {number}", line[split])
        rows.append(_Row(number, os.path.normpath(line[0]), labels, part))
    if not rows:
        raise DataError(f"{table} has no line below its header")
    classes = sorted({name for row in rows for name in row.labels}) if is_list else names
    if len(classes) < 2:
        raise DataError(f"{table} has {len(classes)} classes: at least two are needed")
    return classes, rows


def _separated(cell: str) -> tuple[str, ...]:
    names = (one_line(name.strip()) for name in cell.replace(";", "|").split("|"))
    return tuple(dict.fromkeys(name for name in names if name))


def _marked(where: str, names: Sequence[str], cells: Sequence[str]) -> tuple[str, ...]:
    for name, cell in zip(names, cells, strict=True):
        if cell.lower() not in (*_YES, *_NO):
            raise DataError(
                f"{where}: {name} is {cell!r}; a column for each class holds 1 or 0, and a "
                "single column of separated labels is called labels"
            )
    return tuple(name for name, cell in zip(names, cells, strict=True) if cell.lower() in _YES)


def _split(where: str, cell: str) -> str:
    kind = kind_of(cell)
    if kind not in (TRAIN, VALIDATION):
        raise DataError(f"{where}: the split is {cell!r}; it must be {TRAIN} or {VALIDATION}")
    return kind


def _images(
    table: Path,
    root: Path,
    classes: Sequence[str],
    rows: Sequence[_Row],
    files: Mapping[str, ImageFile],
) -> list[SourceImage]:
    """Returns the image of each row."""
    absent = [row for row in rows if row.image not in files]
    if absent:
        first = absent[0]
        more = f" ({len(absent):,} of {len(rows):,} lines)" if len(absent) > 1 else ""
        raise DataError(
            f"{table}, line {first.number}: {root / first.image} is no image{more}"
            f"{did_you_mean(first.image, files)}"
        )
    seen: dict[str, int] = {}
    for row in rows:
        if row.image in seen:
            raise DataError(
                f"{table}: {row.image} is in line {seen[row.image]} and in line {row.number}: give "
                "its labels in one line"
            )
        seen[row.image] = row.number
    label_of = {name: label for label, name in enumerate(classes, start=1)}
    return [
        SourceImage(
            name=row.image,
            label=0,
            synset="",
            text="|".join(row.labels),
            location=files[row.image],
            labels=tuple(sorted(label_of[name] for name in row.labels)),
        )
        for row in rows
    ]


def _hold_out(
    images: Sequence[SourceImage], fraction: float | None
) -> dict[str, list[SourceImage]]:
    """Holds out the nearest number to `fraction`, chosen by the SHA-256 of the names alone."""
    fraction = DEFAULT_VALIDATION_FRACTION if fraction is None else fraction
    count = min(int(len(images) * fraction + 0.5), len(images) - (fraction < 1))
    order = sorted(images, key=lambda image: hashlib.sha256(os.fsencode(image.name)).digest())
    chosen = {image.name for image in order[:count]}
    return {
        TRAIN: [image for image in images if image.name not in chosen],
        VALIDATION: [image for image in images if image.name in chosen],
    }


def _notes_on_classes(
    splits: Mapping[str, Sequence[SourceImage]], classes: Sequence[str]
) -> Iterator[str]:
    """Says how many images each split has, and names the classes that it lacks."""
    for split, images in splits.items():
        present = {label for image in images for label in image.labels or ()}
        without = [name for label, name in enumerate(classes, start=1) if label not in present]
        if without:
            more = ", ..." if len(without) > _SHOWN else ""
            yield (
                f"warning: classes without a {split} image: {len(without):,} of {len(classes):,} "
                f"({', '.join(without[:_SHOWN])}{more})"
            )
