"""Lists ImageNet's own archives as they are: a tar of a thousand tars, and a tar of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.errors import DataError
from download_and_convert_imagenet.sources.image_source import ArchiveRange
from download_and_convert_imagenet.sources.imagenet_labels import ListedImage, label_of_wnid
from download_and_convert_imagenet.sources.tar import TarMember, tar_members

_IMAGE_SUFFIX = ".jpeg"
_NUM_THREADS = 16  # reading 1.28 million headers waits for the disk, not for the processor


def list_train_archive(path: Path) -> list[ListedImage]:
    """Lists ILSVRC2012_img_train.tar, which holds an archive nXXXXXXXX.tar per class.

    Raises:
        DataError: it is incomplete, damaged, or holds an archive of an unknown class.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        descriptor = file.fileno()
        mtime_ns = os.fstat(descriptor).st_mtime_ns
        classes = []
        for member in tar_members(descriptor, str(path)):
            wnid, suffix = os.path.splitext(os.path.basename(member.name))
            if suffix != ".tar":
                raise DataError(
                    f"{path} holds {member.name}, not archives of classes (n01440764.tar, ...): "
                    "is it another archive under this name?"
                )
            classes.append((member, label_of_wnid(wnid, f"{path}: {member.name}")))

        def images_of(entry: tuple[TarMember, int]) -> list[ListedImage]:
            archive, label = entry
            where = f"{path}: {archive.name}"
            members = tar_members(descriptor, where, archive.offset, archive.num_bytes)
            return _listed(members, str(path), mtime_ns, label)

        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            return [image for images in threads.map(images_of, classes) for image in images]


def list_class_archives(paths: Sequence[Path]) -> list[ListedImage]:
    """Lists nXXXXXXXX.tar files, one per class: the train archive, unpacked once.

    Raises:
        DataError: one is incomplete, damaged or of an unknown class.
        OSError: one cannot be read.
    """

    def images_of(path: Path) -> list[ListedImage]:
        return _list_archive(path, label_of_wnid(path.stem, str(path)))

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        return [image for images in threads.map(images_of, paths) for image in images]


def list_validation_archive(path: Path) -> list[ListedImage]:
    """Lists ILSVRC2012_img_val.tar; labels follow from the numbers of the images.

    Raises:
        DataError: it is incomplete or damaged.
        OSError: it cannot be read.
    """
    return _list_archive(path, None)


def _list_archive(path: Path, label: int | None) -> list[ListedImage]:
    with path.open("rb") as file:
        mtime_ns = os.fstat(file.fileno()).st_mtime_ns
        return _listed(tar_members(file.fileno(), str(path)), str(path), mtime_ns, label)


def _listed(
    members: Iterable[TarMember], path: str, mtime_ns: int, label: int | None
) -> list[ListedImage]:
    """Lists the images among the members of an archive."""
    return [
        ListedImage(name, label, ArchiveRange(path, member.offset, member.num_bytes, mtime_ns))
        for member in members
        if (name := os.path.basename(member.name)).lower().endswith(_IMAGE_SUFFIX)
        and not name.startswith(".")
    ]
