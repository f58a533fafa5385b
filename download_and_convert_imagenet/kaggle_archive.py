"""Kaggle's archive of ImageNet: images of both splits and annotations in one tar.

It comes compressed, and compressed files can be read from the start only, whereas shards mix the
classes. It is therefore decompressed once, to one plain tar file of about the same size (JPEG files
do not compress), and read like ImageNet's own archives from then on.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from download_and_convert_imagenet.bounding_boxes import BoxError, boxes_of_annotation
from download_and_convert_imagenet.file_errors import naming
from download_and_convert_imagenet.image_source import ArchiveRange, SourceError
from download_and_convert_imagenet.imagenet_labels import ListedImage, label_of_wnid
from download_and_convert_imagenet.tar_index import TarMember, tar_members
from download_and_convert_imagenet.tf_example import BoundingBox

# As they are after decompression.
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
    """What the archive at `path` lists; `annotations` are the places of XML files by image name."""

    path: Path
    train: list[ListedImage] = field(default_factory=list)
    validation: list[ListedImage] = field(default_factory=list)
    annotations: dict[str, ArchiveRange] = field(default_factory=dict)

    def boxes(self) -> dict[str, tuple[BoundingBox, ...]]:
        """The bounding boxes by image name without suffix.

        Raises:
            SourceError: an annotation that cannot be understood.
            OSError: the archive cannot be read.
        """
        found = {}
        with self.path.open("rb", buffering=0) as file:  # once: there are half a million of them
            for stem, location in self.annotations.items():
                try:
                    found[stem] = boxes_of_annotation(location.read_from(file.fileno()), stem)
                except BoxError as error:
                    raise SourceError(f"{self.path}: {stem}.xml {error}") from error
        return found


def list_kaggle_archive(path: Path) -> KaggleImages:
    """List the decompressed archive.

    Raises:
        SourceError: it is incomplete, damaged, or holds a folder of an unknown class.
        OSError: it cannot be read.
    """
    listed = KaggleImages(path)
    with path.open("rb") as file:
        mtime_ns = os.fstat(file.fileno()).st_mtime_ns
        for member in tar_members(file.fileno(), str(path)):
            location = ArchiveRange(str(path), member.offset, member.num_bytes, mtime_ns)
            _add(listed, member, location)
    if not listed.train and not listed.validation:
        raise SourceError(f"{path} holds no images in {_TRAIN} or {_VALIDATION}")
    return listed


def _add(listed: KaggleImages, member: TarMember, location: ArchiveRange) -> None:
    path = member.name.removeprefix("./")
    stem, suffix = os.path.splitext(os.path.basename(path))
    if path.startswith(_ANNOTATIONS) and suffix == ".xml":
        listed.annotations[stem] = location
    elif suffix.lower() != ".jpeg":
        return
    elif path.startswith(_TRAIN):
        wnid = path.removeprefix(_TRAIN).partition("/")[0]
        label = label_of_wnid(wnid, f"{location.path}: {path}")
        listed.train.append(ListedImage(stem + suffix, label, location))
    elif path.startswith(_VALIDATION):
        listed.validation.append(ListedImage(stem + suffix, None, location))


def decompress(path: Path, directory: Path, notice: Callable[[str], None]) -> Path:
    """Make the plain tar file of a .tar.gz in `directory`; returns its path.

    Raises:
        SourceError: the archive is incomplete or damaged, or the disk cannot hold it.
        OSError: it cannot be read, or the directory cannot be written.
    """
    target = directory / path.name.removesuffix(".gz")
    partial = target.with_name(f".{target.name}.partial")
    status = path.stat()
    directory.mkdir(parents=True, exist_ok=True)
    # A killed command leaves up to the whole of it, which counts as free.
    partial.unlink(missing_ok=True)
    free = shutil.disk_usage(directory).free
    if status.st_size > free:
        raise SourceError(
            f"{path} must be decompressed to be read: this needs more than "
            f"{status.st_size / 1e9:,.1f} GB in {directory}, where {free / 1e9:,.1f} GB are free"
        )
    notice(f"decompressing {path}, {status.st_size / 1e9:,.2f} GB, to {target} (once)")
    try:
        with naming(target), partial.open("wb") as plain:
            plain.writelines(_decompressed(path))
            plain.flush()
            os.fsync(plain.fileno())
        partial.replace(target)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{path} is incomplete or damaged ({error}): download it again") from None
    finally:
        partial.unlink(missing_ok=True)
    return target


def _decompressed(path: Path) -> Iterator[bytes]:
    """The content of a .gz, in chunks."""
    with naming(path), gzip.open(path) as compressed:
        while chunk := compressed.read(_CHUNK_BYTES):
            yield chunk
