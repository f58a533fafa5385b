"""The class of every ImageNet image, from its folder, its archive or its number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from common.errors import DataError
from download_and_convert_imagenet.records.tf_example import BoundingBox
from download_and_convert_imagenet.sources.image_source import (
    TRAIN,
    VALIDATION,
    ImageLocation,
    SourceImage,
)
from download_and_convert_imagenet.sources.synsets import labels_by_wnid, synsets, validation_labels

_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})(?!\d)", re.IGNORECASE)
# Readers recognize a shard of the wrong split by these (preprocessing/records/split_check.py).
_NAMES = {TRAIN: re.compile(r"n\d{8}_\d+\b"), VALIDATION: re.compile(r"ILSVRC2012_val_\d+\b")}


class ListedImage(NamedTuple):
    """An image, and the label, 1 to 1000, of its folder or archive; None without such."""

    name: str
    label: int | None
    location: ImageLocation


def label_of_wnid(wnid: str, where: str) -> int:
    """Returns the label of a class.

    Raises:
        DataError: ILSVRC 2012 has no such class; `where` is what has this name.
    """
    label = labels_by_wnid().get(wnid)
    if label is None:
        raise DataError(
            f"{where} is not named after a class of ILSVRC 2012: '{wnid}' is not among its 1000 "
            "WordNet ids (n01440764, ...); for folders of other classes use --source=folder"
        )
    return label


def training_images(
    listed: Iterable[ListedImage], boxes: Mapping[str, tuple[BoundingBox, ...]]
) -> list[SourceImage]:
    """Returns the images in the order of label and name.

    Args:
        boxes: of each image, by its name without suffix.

    Raises:
        DataError: an image is named like those for validation.
    """
    images = []
    for name, label, location in listed:
        _check_split(name, TRAIN)
        assert label is not None  # every training image lies in a folder or archive of its class
        images.append(_source_image(name, label, location, boxes.get(name.rpartition(".")[0], ())))
    return _in_order(images)


def validation_images(listed: Iterable[ListedImage]) -> list[SourceImage]:
    """Returns the images in the order of label and name, labeled by their numbers.

    Raises:
        DataError: an image outside of class folders is not named ILSVRC2012_val_00000001.JPEG to
            ..._00050000.JPEG, lies in the folder of another class, or is named like those for
            training.
    """
    images = []
    for name, folder_label, location in listed:
        _check_split(name, VALIDATION)
        official = _official_label(name)
        label = folder_label if official is None else official
        if label is None:
            raise DataError(
                f"{name} among the validation images is not named ILSVRC2012_val_00000001.JPEG to "
                "ILSVRC2012_val_00050000.JPEG: its class is unknown"
            )
        if folder_label not in (None, label):
            raise DataError(
                f"{name} lies in the folder {synsets()[folder_label - 1].wnid}, but ImageNet's "
                f"list says {synsets()[label - 1].wnid}: the folders are mixed up"
            )
        images.append(_source_image(name, label, location))
    return _in_order(images)


def _check_split(name: str, split: str) -> None:
    """Refuses an image of the other split now: readers would refuse its shard after hours."""
    for other, form in _NAMES.items():
        if other != split and form.match(name):
            raise DataError(
                f"{name} among the {split} images is named like one of ImageNet's {other} images, "
                f"which readers refuse there: give the {split} images, or rename it"
            )


def _official_label(name: str) -> int | None:
    """Returns the label of one of the 50,000 official names, None for other names."""
    match = _VALIDATION_NAME.match(name)
    labels = validation_labels()
    if match is None or not 1 <= int(match[1]) <= len(labels):
        return None
    return labels[int(match[1]) - 1]


def _source_image(
    name: str, label: int, location: ImageLocation, boxes: tuple[BoundingBox, ...] = ()
) -> SourceImage:
    synset = synsets()[label - 1]
    return SourceImage(name, label, synset.wnid, synset.words, location, boxes)


def _in_order(images: list[SourceImage]) -> list[SourceImage]:
    """Sorts by label and name: archives and folders of the same images give the same records."""
    return sorted(images, key=lambda image: (image.label, image.name))
