"""Lists ImageNet unpacked: class folders, flat validation images, Kaggle's layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.errors import DataError
from download_and_convert_imagenet.sources.folders.tree import NO_SUFFIX, reason_of_name
from download_and_convert_imagenet.sources.image_source import ImageFile, LeftOut
from download_and_convert_imagenet.sources.imagenet_labels import ListedImage, label_of_wnid
from download_and_convert_imagenet.sources.imagenet_tars import list_class_archives
from download_and_convert_imagenet.sources.synsets import labels_by_wnid

# Below a directory of raw images, in the order of the search.
TRAIN_FOLDERS = ("ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", "train", "ILSVRC2012_img_train")
VALIDATION_FOLDERS = (
    "ILSVRC/Data/CLS-LOC/val",
    "Data/CLS-LOC/val",
    "validation",
    "val",
    "ILSVRC2012_img_val",
)
_IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
_NUM_THREADS = 16  # listing folders waits for the disk, not for the processor


def list_train_folder(folder: Path, left_out: list[LeftOut]) -> list[ListedImage]:
    """Lists FOLDER/nXXXXXXXX/*.JPEG, or FOLDER/nXXXXXXXX.tar.

    Args:
        left_out: what is not used is added.

    Raises:
        DataError: a folder or archive is of an unknown class, or there is none; a folder has no
            images; or archives lie next to folders, as an interrupted unpacking leaves them.
        OSError: a folder cannot be read.
    """
    classes, archives, loose = _entries(folder, left_out)
    left_out += (LeftOut(image.path, "next to the folders of classes") for image in loose)
    if not classes and archives:
        return list_class_archives(archives)
    if not classes:
        raise DataError(f"{folder} has no folders of classes (n01440764, ...)")
    _check_unpacked(folder, classes, archives)
    left_out += (LeftOut(str(path), "kept archives of unpacked classes") for path in archives)
    return list(_images_of_classes(classes, left_out))


def list_validation_folder(folder: Path, left_out: list[LeftOut]) -> list[ListedImage]:
    """Lists FOLDER/*.JPEG, or FOLDER/nXXXXXXXX/*.JPEG.

    Class folders may be empty while flat images wait to be moved into them.

    Args:
        left_out: what is not used is added.

    Raises:
        DataError: a folder is of an unknown class; there are no images; an image is both in the
            folder of its class and outside of it; or a folder is empty and no flat image is left.
        OSError: a folder cannot be read.
    """
    classes, archives, images = _entries(folder, left_out)
    left_out += (LeftOut(str(path), ".tar") for path in archives)
    listed = {os.path.basename(image.path): image for image in images}
    in_classes = list(_images_of_classes(classes, left_out, may_be_empty=bool(listed)))
    for name, _, _ in in_classes:
        if name in listed:
            raise DataError(
                f"{listed[name].path} is in the folder of its class as well: remove one of the two"
            )
    if not listed and not in_classes:
        raise DataError(f"{folder} has no images")
    return [*(ListedImage(name, None, image) for name, image in listed.items()), *in_classes]


def _check_unpacked(folder: Path, classes: list[Path], archives: list[Path]) -> None:
    """Refuses archives next to folders when a loop of unpacking and removing was interrupted.

    The first archive that the loop did not reach may have a folder with some of its images.
    Archives of exactly the classes that have folders were kept on purpose.
    """
    packed = [path for path in archives if path.stem in labels_by_wnid()]
    if packed and {path.stem for path in packed} != {path.name for path in classes}:
        raise DataError(
            f"{packed[0]} lies next to folders of classes, as when unpacking was interrupted: "
            f"unpack each archive that {folder} still holds ({len(packed)}) into a folder of its "
            "name, then remove it"
        )


def _images_of_classes(
    folders: list[Path], left_out: list[LeftOut], *, may_be_empty: bool = False
) -> Iterator[ListedImage]:
    def images_of(folder: Path) -> list[ListedImage]:
        label = label_of_wnid(folder.name, str(folder))
        inner, archives, images = _entries(folder, left_out)
        if not images and inner:
            raise DataError(
                f"{folder} holds no images itself, but {inner[0].name}/, which ImageNet has not: "
                "--source=folder reads such folders (as Tiny ImageNet's)"
            )
        if not images and not may_be_empty:
            raise DataError(f"{folder} holds no images")
        left_out.extend(LeftOut(str(path), "inside a class") for path in (*inner, *archives))
        return [ListedImage(os.path.basename(image.path), label, image) for image in images]

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for images in threads.map(images_of, folders):
            yield from images


def _entries(
    folder: Path, left_out: list[LeftOut]
) -> tuple[list[Path], list[Path], list[ImageFile]]:
    """Returns folders, tar archives and images in a folder, sorted by name; leaves out others."""
    folders, archives, images = [], [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = entry.name.lower()
            reason = reason_of_name(entry.name)
            if reason is not None:
                left_out.append(LeftOut(entry.path, reason))
            elif entry.is_dir():
                folders.append(Path(entry.path))
            elif name.endswith(".tar"):
                archives.append(Path(entry.path))
            elif name.endswith(_IMAGE_SUFFIXES):
                status = entry.stat()
                images.append(ImageFile(entry.path, status.st_size, status.st_mtime_ns))
            else:
                left_out.append(LeftOut(entry.path, os.path.splitext(name)[1] or NO_SUFFIX))
    return folders, archives, images
