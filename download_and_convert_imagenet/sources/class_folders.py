"""Any set of images with one folder per class.

    DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or
    DIR/CLASS/*.jpg, of which a fraction becomes the validation set.

Classes are labeled in the order of their names. The SHA-256 of its class and name alone decides
whether an image is for validation: adding images later moves no other image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.errors import DataError
from download_and_convert_imagenet.sources.image_source import (
    IMAGE_SUFFIXES,
    TRAIN,
    VALIDATION,
    ImageFile,
    ImageSource,
    SourceImage,
    raise_error,
)
from download_and_convert_imagenet.sources.synsets import labels_by_wnid, synsets

DEFAULT_VALIDATION_FRACTION = 0.1
VALIDATION_FOLDERS = ("validation", "val", "valid", "test")
# Data sets that readers treat specially, by the name in the manifest.
_RESERVED_NAMES = frozenset(("imagenet", "cifar10", "digits"))
_HASH_BYTES = 8


def folder_source(root: Path, validation_fraction: float | None = None) -> ImageSource:
    """Lists the images of class folders.

    Args:
        root: a directory of one of the two forms above; symbolic links are followed.
        validation_fraction: 0 to 1, of a set without a validation folder; None means
            DEFAULT_VALIDATION_FRACTION, and 0 only a training set.

    Raises:
        DataError: there are no class folders, a class has no images or only validation images,
            or there are both a fraction and a validation folder.
        OSError: a folder cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a directory")
    train = root / "train" if (root / "train").is_dir() else root
    validation = _validation_folder(root)
    classes = _class_folders(train)
    splits = {TRAIN: _images(train, classes, classes)}
    if validation is None:
        if validation_fraction is None:
            validation_fraction = DEFAULT_VALIDATION_FRACTION
        splits = _split(splits[TRAIN], validation_fraction)
    elif validation_fraction is not None:
        raise DataError(f"{validation} has the validation images: leave the fraction out")
    else:
        splits[VALIDATION] = _images(validation, _class_folders(validation), classes)
    name = root.resolve().name
    if name.lower() in _RESERVED_NAMES or not name:
        name = "folder"
    return ImageSource(
        name, tuple(_words(name) for name in classes), splits, keep_png=True, upright=True
    )


def _validation_folder(root: Path) -> Path | None:
    """Returns the folder of validation images, None if there is none."""
    found = [root / name for name in VALIDATION_FOLDERS if (root / name).is_dir()]
    if not found:
        return None
    if not (root / "train").is_dir():
        raise DataError(f"{root} has {found[0].name}/ but no train/ with folders of classes")
    return found[0]


def _class_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )
    if not names:
        raise DataError(f"{folder} has no folders of classes")
    return names


def _images(folder: Path, names: Sequence[str], classes: Sequence[str]) -> list[SourceImage]:
    """Returns images in the order of class and path; `classes` are in the order of their labels."""
    labels = {name: label for label, name in enumerate(classes, start=1)}
    images: list[SourceImage] = []
    for name in names:
        if name not in labels:
            raise DataError(
                f"{folder / name}: the training images have no class '{name}' "
                f"(they have {', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})"
            )
        num_before = len(images)
        images += (
            SourceImage(
                name=file.path.removeprefix(f"{folder}{os.sep}"),
                label=labels[name],
                synset=name,
                text=_words(name),
                location=file,
            )
            for file in _image_files(folder / name)
        )
        if len(images) == num_before:
            raise DataError(f"{folder / name} holds no images")
    return images


def _image_files(folder: Path) -> Iterator[ImageFile]:
    """Yields the images in a folder and below, sorted by path, without hidden ones.

    Links to a folder that was visited already, or to the one that holds all classes, are not
    followed: they would lead in circles.
    """
    visited = {_identity(folder.parent)}
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=raise_error):
        if _identity(directory) in visited:
            folders.clear()
            continue
        visited.add(_identity(directory))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and name[0] != ".":
                path = os.path.join(directory, name)
                status = os.stat(path)
                yield ImageFile(path, status.st_size, status.st_mtime_ns)


def _identity(directory: str | os.PathLike[str]) -> tuple[int, int]:
    """Returns what all paths to a directory have in common."""
    status = os.stat(directory)
    return status.st_dev, status.st_ino


def _split(images: list[SourceImage], fraction: float) -> dict[str, list[SourceImage]]:
    splits: dict[str, list[SourceImage]] = {TRAIN: [], VALIDATION: []}
    for image in images:
        splits[VALIDATION if _position(image.name) < fraction else TRAIN].append(image)
    return {split: members for split, members in splits.items() if members}


def _position(name: str) -> float:
    """Returns a number from 0 to 1 that depends on the name only, and is the same everywhere."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:_HASH_BYTES], "big") / 2 ** (8 * _HASH_BYTES)


def _words(name: str) -> str:
    """Returns the name of a class in words: WordNet's if the folder is named after a WordNet id."""
    label = labels_by_wnid().get(name)
    return name if label is None else synsets()[label - 1].words
