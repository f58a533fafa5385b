"""ImageNet unpacked: folders of classes, validation images flat or in such, Kaggle's layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from download_and_convert_imagenet.sources.image_source import ImageFile, SourceError
from download_and_convert_imagenet.sources.imagenet_labels import ListedImage, label_of_wnid
from download_and_convert_imagenet.sources.imagenet_tars import list_class_archives
from download_and_convert_imagenet.sources.synsets import labels_by_wnid

# Below a directory of raw images, in the order in which they are looked for.
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


def list_train_folder(folder: Path) -> list[ListedImage]:
    """The images of FOLDER/nXXXXXXXX/*.JPEG, or of FOLDER/nXXXXXXXX.tar.

    Raises:
        SourceError: a folder or archive of an unknown class, or none at all; a folder without
            images, or archives beside folders, as an interrupted unpacking leaves them.
        OSError: a folder cannot be read.
    """
    classes, archives, _ = _entries(folder)
    if not classes and archives:
        return list_class_archives(archives)
    if not classes:
        raise SourceError(f"{folder} has no folders of classes (n01440764, ...)")
    _refuse_half_unpacked(folder, classes, archives)
    return list(_images_of_classes(classes))


def list_validation_folder(folder: Path) -> list[ListedImage]:
    """The images of FOLDER/*.JPEG, or of FOLDER/nXXXXXXXX/*.JPEG.

    Raises:
        SourceError: a folder of an unknown class, neither images nor folders, an image that is in
            the folder of its class and beside it, too, or a folder without images where none are
            beside it, waiting to be moved.
        OSError: a folder cannot be read.
    """
    classes, _, images = _entries(folder)
    listed = {os.path.basename(image.path): image for image in images}
    in_classes = list(_images_of_classes(classes, may_be_empty=bool(listed)))
    for name, _, _ in in_classes:
        if name in listed:
            raise SourceError(
                f"{listed[name].path} is in the folder of its class, too: remove one of the two"
            )
    if not listed and not in_classes:
        raise SourceError(f"{folder} has no images")
    return [*(ListedImage(name, None, image) for name, image in listed.items()), *in_classes]


def _refuse_half_unpacked(folder: Path, classes: list[Path], archives: list[Path]) -> None:
    """Archives of some classes only are those that a loop of unpacking and removing did not reach.

    The first of them may have a folder with a part of its images. Archives of exactly the classes
    that have folders were kept on purpose.
    """
    packed = [path for path in archives if path.stem in labels_by_wnid()]
    if packed and {path.stem for path in packed} != {path.name for path in classes}:
        raise SourceError(
            f"{packed[0]} stands beside folders of classes, as when unpacking was interrupted: "
            f"unpack each archive that {folder} still holds ({len(packed)}) into a folder of its "
            "name, then remove it"
        )


def _images_of_classes(folders: list[Path], *, may_be_empty: bool = False) -> Iterator[ListedImage]:
    def images_of(folder: Path) -> list[ListedImage]:
        label = label_of_wnid(folder.name, str(folder))
        _, _, images = _entries(folder)
        if not images and not may_be_empty:
            raise SourceError(f"{folder} holds no images")
        return [ListedImage(os.path.basename(image.path), label, image) for image in images]

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for images in threads.map(images_of, folders):
            yield from images


def _entries(folder: Path) -> tuple[list[Path], list[Path], list[ImageFile]]:
    """Folders, tar archives and images in a folder, sorted by name; hidden files are none."""
    folders, archives, images = [], [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = entry.name.lower()
            if name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(Path(entry.path))
            elif name.endswith(".tar"):
                archives.append(Path(entry.path))
            elif name.endswith(_IMAGE_SUFFIXES):
                status = entry.stat()
                images.append(ImageFile(entry.path, status.st_size, status.st_mtime_ns))
    return folders, archives, images
