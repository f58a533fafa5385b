"""Kaggle's archive of ImageNet: images of both splits and annotations in one tar.

It comes compressed. A compressed file can only be read from its start, while shards mix the
classes. It is therefore decompressed once, to a plain tar file of about the same size (JPEG files
do not compress), which is then read like ImageNet's own archives.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import atomic_file, file_size, naming, partial_of
from download_and_convert_imagenet.records.manifest import split_of
from download_and_convert_imagenet.records.tf_example import BoundingBox
from download_and_convert_imagenet.sources.bounding_boxes import boxes_of_annotation
from download_and_convert_imagenet.sources.image_source import ArchiveRange, LeftOut
from download_and_convert_imagenet.sources.imagenet_labels import ListedImage, label_of_wnid
from download_and_convert_imagenet.sources.tar import TarMember, tar_members

# Names after decompression.
KAGGLE_ARCHIVES = (
    "imagenet_object_localization_patched2019.tar",
    "imagenet_object_localization.tar",
)
_TRAIN = "ILSVRC/Data/CLS-LOC/train/"
_VALIDATION = "ILSVRC/Data/CLS-LOC/val/"
_ANNOTATIONS = "ILSVRC/Annotations/CLS-LOC/train/"
_CHUNK_BYTES = 16 << 20


@dataclass
class KaggleImages:
    """The contents of the archive at `path`.

    Attributes:
        annotations: XML files, by image name.
        others: how many files of a folder and suffix are not used.
    """

    path: Path
    train: list[ListedImage] = field(default_factory=list)
    validation: list[ListedImage] = field(default_factory=list)
    annotations: dict[str, ArchiveRange] = field(default_factory=dict)
    others: Counter[tuple[str, str]] = field(default_factory=Counter)

    def left_out(self) -> list[LeftOut]:
        """Returns what is not used, such as the images of the test split."""
        return [
            LeftOut(f"{self.path}: {folder}", f"{suffix or 'files'} in {folder}", number)
            for (folder, suffix), number in self.others.items()
        ]

    def boxes(self) -> dict[str, tuple[BoundingBox, ...]]:
        """Reads the bounding boxes, by image name without suffix.

        Raises:
            DataError: an annotation is invalid.
            OSError: the archive cannot be read.
        """
        found = {}
        with self.path.open("rb", buffering=0) as file:  # opened once for half a million files
            for stem, location in self.annotations.items():
                content = location.read_from(file.fileno())
                found[stem] = boxes_of_annotation(content, stem, f"{self.path}: {stem}.xml")
        return found


def list_kaggle_archive(path: Path) -> KaggleImages:
    """Lists the decompressed archive.

    Raises:
        DataError: it is incomplete, damaged, or holds a folder of an unknown class.
        OSError: it cannot be read.
    """
    listed = KaggleImages(path)
    with path.open("rb") as file:
        mtime_ns = os.fstat(file.fileno()).st_mtime_ns
        for member in tar_members(file.fileno(), str(path)):
            location = ArchiveRange(str(path), member.offset, member.num_bytes, mtime_ns)
            _add(listed, member, location)
    if not listed.train and not listed.validation:
        raise DataError(f"{path} holds no images in {_TRAIN} or {_VALIDATION}")
    return listed


def _add(listed: KaggleImages, member: TarMember, location: ArchiveRange) -> None:
    path = member.name.removeprefix("./")
    stem, suffix = os.path.splitext(os.path.basename(path))
    if path.startswith(_ANNOTATIONS) and suffix == ".xml":
        listed.annotations[stem] = location
    elif suffix.lower() == ".jpeg" and path.startswith(_TRAIN):
        wnid = path.removeprefix(_TRAIN).partition("/")[0]
        label = label_of_wnid(wnid, f"{location.path}: {path}")
        listed.train.append(ListedImage(stem + suffix, label, location))
    elif suffix.lower() == ".jpeg" and path.startswith(_VALIDATION):
        listed.validation.append(ListedImage(stem + suffix, None, location))
    else:
        listed.others[os.path.dirname(path), suffix] += 1


class PlannedShards(NamedTuple):
    """The shards to write from an archive: `splits` of at most `num_bytes` into `directory`.

    Older shards of these splits in the directory, which exists, will be replaced.
    """

    directory: Path
    splits: Collection[str]
    num_bytes: int


def decompress(
    path: Path, directory: Path, shards: PlannedShards, log: Callable[[str], None]
) -> Path:
    """Decompresses a .tar.gz to a plain tar file in `directory` and returns its path.

    Raises:
        DataError: the archive is incomplete or damaged, or the disk cannot hold both the plain
            file and the shards (found out now, not hours later).
        OSError: it cannot be read, or the directory cannot be written.
    """
    target = directory / path.name.removesuffix(".gz")
    directory.mkdir(parents=True, exist_ok=True)
    # What a killed command left is free space.
    partial_of(target).unlink(missing_ok=True)
    num_bytes = path.stat().st_size
    _check_free_space(path, num_bytes, target, shards)
    log(f"decompressing {path}, {num_bytes / 1e9:,.2f} GB, to {target} (once)")
    try:
        with atomic_file(target) as plain:
            plain.writelines(_decompressed(path))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is incomplete or damaged ({error}): download it again") from None
    return target


def _check_free_space(path: Path, num_bytes: int, target: Path, shards: PlannedShards) -> None:
    free = shutil.disk_usage(target.parent).free
    num_shard_bytes = 0
    if target.parent.stat().st_dev == shards.directory.stat().st_dev:
        older = [
            file for file in shards.directory.iterdir() if split_of(file.name) in shards.splits
        ]
        replaced = sum(file_size(file) or 0 for file in (target, *older))
        num_shard_bytes = max(0, min(num_bytes, shards.num_bytes) - replaced)
    if num_bytes + num_shard_bytes > free:
        besides = f", and its shards about {num_shard_bytes / 1e9:,.1f} GB on the same disk"
        raise DataError(
            f"{path} must be decompressed to be read: this needs more than "
            f"{num_bytes / 1e9:,.1f} GB in {target.parent}{besides if num_shard_bytes else ''}, "
            f"where {free / 1e9:,.1f} GB are free"
        )


def _decompressed(path: Path) -> Iterator[bytes]:
    """Yields the content of a .gz file in chunks."""
    with naming(path), gzip.open(path) as compressed:
        while chunk := compressed.read(_CHUNK_BYTES):
            yield chunk
