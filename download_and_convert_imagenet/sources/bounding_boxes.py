"""ImageNet's bounding boxes, from the annotations as they are published: one XML file per image.

A box is divided by the width and height in its file: these are the size at which the image was
shown to the annotators, not the size of the image. Corners in the wrong order are swapped, boxes
are clipped to the image, and boxes of which nothing is left are dropped. So are boxes of another of
the 1,000 classes than the image's own; other names stay, since dogs are annotated with their breeds
("Scottish_deerhound"). The name of the file identifies the image: the <filename> within is "%s" in
some files.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from common.errors import DataError
from common.files import naming
from download_and_convert_imagenet.records.tf_example import BoundingBox
from download_and_convert_imagenet.sources.image_source import raise_error
from download_and_convert_imagenet.sources.synsets import labels_by_wnid
from download_and_convert_imagenet.sources.tar import tar_files

Boxes = dict[str, tuple[BoundingBox, ...]]
_Annotations = Iterator[tuple[str, str, bytes]]
"""The name of an image without suffix; the path of its annotation file, and the content."""
_XML_SUFFIX = ".xml"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_boxes(path: Path) -> Boxes:
    """Reads the boxes of all annotated images of the 1,000 classes, by image name without suffix.

    Args:
        path: ILSVRC2012_bbox_train_v2.tar.gz or another .tar or .tar.gz of XML files; a folder with
            XML files at any depth (also Kaggle's Annotations); or a CSV file as TF-Slim's converter
            reads it, "n00007846_64193.JPEG,xmin,ymin,xmax,ymax" in fractions.

    Raises:
        DataError: the archive is incomplete, or a file, which the message names, is invalid.
        OSError: it cannot be read.
    """
    if path.is_dir():
        return _boxes_of(_annotations_in_folder(path))
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    return _boxes_of(_annotations_in_archive(path))


def boxes_of_annotation(content: bytes, stem: str, where: str) -> tuple[BoundingBox, ...]:
    """Returns the boxes in one XML file.

    Args:
        stem: the file's name without suffix; for training images it starts with the class.
        where: the file, for messages.

    Raises:
        DataError: the content is not such an XML file.
    """
    labels = labels_by_wnid()
    wnid = stem.partition("_")[0]
    try:
        root = ElementTree.fromstring(content)
        width, height = _numbers(root.find("size"), ("width", "height"))
        objects = [
            (item.findtext("name", "").strip(), _numbers(item.find("bndbox"), _CORNERS))
            for item in root.iter("object")
        ]
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{where} is not an annotation of boxes ({error})") from error
    if width <= 0 or height <= 0:
        raise DataError(f"{where} gives an image of {width:g}x{height:g} pixels")
    # Validation images (ILSVRC2012_val_...) are not named after a class.
    boxes = (
        _clipped_box(xmin / width, ymin / height, xmax / width, ymax / height)
        for name, (xmin, ymin, xmax, ymax) in objects
        if name not in labels or name == wnid or wnid not in labels
    )
    return tuple(box for box in boxes if box is not None)


def _numbers(element: ElementTree.Element | None, tags: Sequence[str]) -> list[float]:
    """Returns the numbers in the children of an element that have these tags."""
    if element is None:
        raise ValueError(f"no {', '.join(tags)}")
    return [float(element.findtext(tag, "")) for tag in tags]


def _clipped_box(x0: float, y0: float, x1: float, y1: float) -> BoundingBox | None:
    """Returns the part of a box within the image, None if there is none."""
    xmin, xmax = sorted(min(max(x, 0.0), 1.0) for x in (x0, x1))
    ymin, ymax = sorted(min(max(y, 0.0), 1.0) for y in (y0, y1))
    return BoundingBox(xmin, ymin, xmax, ymax) if xmin < xmax and ymin < ymax else None


def _boxes_of(annotations: _Annotations) -> Boxes:
    boxes: Boxes = {}
    for stem, path, content in annotations:
        if found := boxes_of_annotation(content, stem, path):
            boxes[stem] = found
    return boxes


def _is_wanted(stem: str) -> bool:
    """Returns whether an image may be converted: 2,600 other classes are annotated as well."""
    wnid = stem.partition("_")[0]
    return wnid in labels_by_wnid() or wnid == "ILSVRC2012"


def _annotations_in_archive(path: Path) -> _Annotations:
    for name, content in tar_files(path):
        stem, suffix = os.path.splitext(os.path.basename(name))
        if suffix.lower() == _XML_SUFFIX and _is_wanted(stem):
            yield stem, f"{path}: {name}", content


def _annotations_in_folder(folder: Path) -> _Annotations:
    for directory, folders, files in os.walk(folder, onerror=raise_error):
        folders.sort()
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() == _XML_SUFFIX and _is_wanted(stem):
                path = os.path.join(directory, name)
                with naming(path), open(path, "rb") as file:
                    yield stem, path, file.read()


def _read_csv(path: Path) -> Boxes:
    try:
        with naming(path), path.open(newline="", encoding="utf-8") as file:
            return _boxes_in_rows(csv.reader(file), path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8 ({error})") from error


def _boxes_in_rows(rows: Iterable[Sequence[str]], path: Path) -> Boxes:
    boxes: dict[str, list[BoundingBox]] = {}
    for number, row in enumerate(rows, start=1):
        if row == ["ImageId", "PredictionString"]:
            raise DataError(
                f"{path} has boxes in pixels without the images' sizes: give the folder "
                "ILSVRC/Annotations/CLS-LOC/train of the same archive instead"
            )
        try:
            name, *corners = row
            xmin, ymin, xmax, ymax = (float(corner) for corner in corners)
        except ValueError:
            raise DataError(
                f"{path}, line {number}: not NAME,xmin,ymin,xmax,ymax in fractions"
            ) from None
        box = _clipped_box(xmin, ymin, xmax, ymax)
        if box is not None:
            boxes.setdefault(os.path.splitext(name)[0], []).append(box)
    return {stem: tuple(found) for stem, found in boxes.items()}
