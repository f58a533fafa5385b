"""Any set of images with one folder a class.

    DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or
    DIR/CLASS/*.jpg, of which a fraction becomes the validation set.

Classes have their labels in the order of their names. Which image is for validation is decided by
the SHA-256 of its class and name alone: images that are added later move no other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from download_and_convert_imagenet.sources.image_source import (
    TRAIN,
    VALIDATION,
    ImageFile,
    ImageSource,
    SourceError,
    SourceImage,
    raise_error,
)
from download_and_convert_imagenet.sources.synsets import labels_by_wnid, synsets

DEFAULT_VALIDATION_FRACTION = 0.1
VALIDATION_FOLDERS = ("validation", "val", "valid", "test")
_IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
)
# Data sets that readers treat in their own way, by the name in the manifest.
_RESERVED_NAMES = frozenset(("imagenet", "cifar10", "digits"))
_HASH_BYTES = 8


def folder_source(root: Path, validation_fraction: float | None = None) -> ImageSource:
    """The images of class folders.

    Args:
        root: a directory of one of the two forms above; symbolic links are followed.
        validation_fraction: 0 to 1, of a set without a validation folder;
            DEFAULT_VALIDATION_FRACTION when left out. 0 gives a training set alone.

    Raises:
        SourceError: no class folders, a class without images, a class in validation alone, or a
            fraction beside a validation folder.
        OSError: a folder cannot be read.
    """
    if not root.is_dir():
        raise SourceError(f"{root} is no directory")
    train = root / "train" if (root / "train").is_dir() else root
    validation = _validation_folder(root)
    classes = _class_folders(train)
    splits = {TRAIN: _images(train, classes, classes)}
    if validation is None:
        if validation_fraction is None:
            validation_fraction = DEFAULT_VALIDATION_FRACTION
        splits = _split(splits[TRAIN], validation_fraction)
    elif validation_fraction is not None:
        raise SourceError(f"{validation} has the validation images: leave the fraction out")
    else:
        splits[VALIDATION] = _images(validation, _class_folders(validation), classes)
    name = root.resolve().name
    if name.lower() in _RESERVED_NAMES or not name:
        name = "folder"
    return ImageSource(name, tuple(_words(name) for name in classes), splits, keep_png=True)


def _validation_folder(root: Path) -> Path | None:
    """Where a set keeps its validation images, None when it has one set of images only."""
    found = [root / name for name in VALIDATION_FOLDERS if (root / name).is_dir()]
    if not found:
        return None
    if not (root / "train").is_dir():
        raise SourceError(f"{root} has {found[0].name}/ but no train/ with folders of classes")
    return found[0]


def _class_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )
    if not names:
        raise SourceError(f"{folder} has no folders of classes")
    return names


def _images(folder: Path, names: Sequence[str], classes: Sequence[str]) -> list[SourceImage]:
    """Class by class, by name; `classes` are all classes in the order of their labels."""
    labels = {name: label for label, name in enumerate(classes, start=1)}
    images: list[SourceImage] = []
    for name in names:
        if name not in labels:
            raise SourceError(
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
            raise SourceError(f"{folder / name} holds no images")
    return images


def _image_files(folder: Path) -> Iterator[ImageFile]:
    """The images in a folder and below, sorted by their paths; hidden ones are none.

    A link to a folder that was walked through already, or to the one that holds all classes, is not
    followed: it would lead in circles.
    """
    walked = {_identity(folder.parent)}
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=raise_error):
        if _identity(directory) in walked:
            folders.clear()
            continue
        walked.add(_identity(directory))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in _IMAGE_SUFFIXES and name[0] != ".":
                path = os.path.join(directory, name)
                status = os.stat(path)
                yield ImageFile(path, status.st_size, status.st_mtime_ns)


def _identity(directory: str | os.PathLike[str]) -> tuple[int, int]:
    """The same of every path to a directory."""
    status = os.stat(directory)
    return status.st_dev, status.st_ino


def _split(images: list[SourceImage], fraction: float) -> dict[str, list[SourceImage]]:
    splits: dict[str, list[SourceImage]] = {TRAIN: [], VALIDATION: []}
    for image in images:
        splits[VALIDATION if _position(image.name) < fraction else TRAIN].append(image)
    return {split: members for split, members in splits.items() if members}


def _position(name: str) -> float:
    """A number from 0 to 1 that only the name decides, the same everywhere."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:_HASH_BYTES], "big") / 2 ** (8 * _HASH_BYTES)


def _words(name: str) -> str:
    """A class in words: WordNet's where the folder is named by one of ImageNet's identifiers."""
    label = labels_by_wnid().get(name)
    return name if label is None else synsets()[label - 1].words
