"""A source of images, as the converter sees it: the images of every split, and how to read them.

A source lists its images cheaply, from directory entries and tar headers; nothing is decoded. The
bytes are read later, by worker processes, in any order: a location is therefore small, picklable,
and reads by itself. Objects that exist once per image are named tuples: frozen dataclasses take two
to three times as long to create, which counts for a million images.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from common.files import name_file, naming
from download_and_convert_imagenet.records.tf_example import BoundingBox

TRAIN, VALIDATION, TEST = "train", "validation", "test"
DEFAULT_VALIDATION_FRACTION = 0.1  # of images without a validation split
# Files that every command takes for images, whatever the case of their names.
IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif"),
        *(".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".heic", ".heif"),
    )
)
NO_BOXES = "none"  # instead of a path to bounding boxes
IMAGENET_SHARDS = {TRAIN: 1024, VALIDATION: 128}
IMAGENET_IMAGES = {TRAIN: 1_281_167, VALIDATION: 50_000}


def raise_error(error: OSError) -> None:
    """Raises: an `onerror` for os.walk, which would skip what it cannot list."""
    raise error


class ImageLocation(Protocol):
    """The place of one image's bytes; picklable."""

    def read(self) -> bytes:
        """Returns the encoded image as it is stored; OSError if it cannot be read any more."""
        ...

    @property
    def num_bytes(self) -> int:
        """About how many bytes there are to read, known without reading."""
        ...

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever the bytes may have changed, such as a size and a time."""
        ...


class SourceImage(NamedTuple):
    """One image before it is converted.

    Attributes:
        name: stored as image/filename: a base name such as "n01440764_10026.JPEG", or of class
            folders the path below them, "tulip/a.jpg".
        label: from 1 to the number of classes.
        synset: name of its class as the source has it: a WordNet id, or a folder.
        text: name of its class in words.
        boxes: around objects of its class.
        labels: instead of `label`, of an image with any number of labels.
    """

    name: str
    label: int
    synset: str
    text: str
    location: ImageLocation
    boxes: tuple[BoundingBox, ...] = ()
    labels: tuple[int, ...] | None = None


class LeftOut(NamedTuple):
    """A file or folder that was given and is not used.

    Attributes:
        reason: in the words that follow a number: "hidden", ".txt", "next to the class folders".
        number: of files that it stands for.
    """

    path: str
    reason: str
    number: int = 1


@dataclass(frozen=True)
class ImageSource:
    """A data set before it is converted.

    Attributes:
        name: of the data set, as readers know it ("imagenet", "cifar10", a folder's name).
        class_names: in words, label 1 first.
        splits: "train", "validation" or both -> images in a fixed order, class by class; the
            converter shuffles them.
        keep_png: whether 8-bit PNG images are stored as they are; otherwise they become JPEG.
        upright: whether images are stored as people see them, see `prepare_image`; ImageNet's are
            not, since its bounding boxes and published accuracies are of the stored pixels.
        notes: lines about what was found, to be read before the conversion starts.
        left_out: what was given and is not used.
        is_held_out: whether the validation images were taken from the training images.
        multi_label: whether its images have `labels`.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Sequence[SourceImage]]
    keep_png: bool = False
    upright: bool = False
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    is_held_out: bool = False
    multi_label: bool = False


class ImageFile(NamedTuple):
    """An image in a file of its own; `mtime_ns` is the file's time of change."""

    path: str
    num_bytes: int
    mtime_ns: int

    def read(self) -> bytes:
        """Returns the whole file, with one system call if its size is the listed one."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            content = os.read(descriptor, self.num_bytes + 1)
        except OSError as error:
            name_file(error, self.path)
            raise
        finally:
            os.close(descriptor)
        if len(content) == self.num_bytes:
            return content
        with naming(self.path):
            return Path(self.path).read_bytes()

    @property
    def fingerprint(self) -> str:
        """The file's size and time."""
        return f"{self.num_bytes} {self.mtime_ns}"


class ArchiveRange(NamedTuple):
    """An image in an uncompressed archive; `mtime_ns` is the archive's time of change."""

    path: str
    offset: int
    num_bytes: int
    mtime_ns: int

    def read(self) -> bytes:
        """Returns the image. The archive is opened each time: there may be a thousand archives.

        Raises:
            OSError: the archive cannot be read, or has become shorter.
        """
        with open(self.path, "rb", buffering=0) as file:
            return self.read_from(file.fileno())

    def read_from(self, descriptor: int) -> bytes:
        """Returns the image out of the open archive, whose position does not move."""
        try:
            content = os.pread(descriptor, self.num_bytes, self.offset)
        except OSError as error:
            name_file(error, self.path)
            raise
        if len(content) != self.num_bytes:
            end = self.offset + self.num_bytes
            raise OSError(errno.EIO, f"ends before byte {end:,}", self.path)
        return content

    @property
    def fingerprint(self) -> str:
        """The image's place and size, and the archive's time."""
        return f"{self.offset} {self.num_bytes} {self.mtime_ns}"
