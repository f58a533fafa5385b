"""What a source of images tells the converter: every image of every split, and how to read it.

A source lists its images cheaply, from directory entries and tar headers; nothing is decoded. The
bytes are read later, by worker processes, in any order: a location is therefore small, picklable,
and reads by itself. What exists once an image is a named tuple: a frozen dataclass takes two
to three times as long to make, which counts a million times.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from common.errors import DataError
from common.files import name_file, naming
from download_and_convert_imagenet.records.tf_example import BoundingBox

TRAIN, VALIDATION = "train", "validation"


class SourceError(DataError):
    """Input that is missing, incomplete or not what it should be; the message is one line."""


def raise_error(error: OSError) -> None:
    """For os.walk, which leaves out what it cannot list unless told otherwise."""
    raise error


class ImageLocation(Protocol):
    """Where the bytes of one image are; picklable."""

    def read(self) -> bytes:
        """The encoded image, as it is stored.

        Raises:
            OSError: it cannot be read any more.
        """
        ...

    @property
    def num_bytes(self) -> int:
        """About how much there is to read, known without reading."""
        ...

    @property
    def fingerprint(self) -> str:
        """Another text whenever the bytes may have changed: a size and a time, for instance."""
        ...


class SourceImage(NamedTuple):
    """One image before it is converted.

    Attributes:
        name: stored as image/filename: a base name such as "n01440764_10026.JPEG", or of class
            folders the path below them, "tulip/a.jpg".
        label: from 1 to the number of classes.
        synset: name of its class as the source has it: a WordNet id, or a folder.
        text: name of its class in words.
        boxes: of objects of its class.
    """

    name: str
    label: int
    synset: str
    text: str
    location: ImageLocation
    boxes: tuple[BoundingBox, ...] = ()


@dataclass(frozen=True)
class ImageSource:
    """A data set before it is converted.

    Attributes:
        name: of the data set, as readers know it ("imagenet", "cifar10", a folder's name).
        class_names: in words, label 1 first.
        splits: "train", "validation" or both -> images in a fixed order, class by class; the
            converter shuffles them.
        keep_png: 8-bit PNG images are stored as they are; otherwise they become JPEG.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Sequence[SourceImage]]
    keep_png: bool = False


class ImageFile(NamedTuple):
    """An image that is a file; `mtime_ns` is its time of change."""

    path: str
    num_bytes: int
    mtime_ns: int

    def read(self) -> bytes:
        """All of the file, in one call where it has the size that it was listed with.

        Raises:
            OSError: it cannot be read.
        """
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
        """Its size and its time."""
        return f"{self.num_bytes} {self.mtime_ns}"


class ArchiveRange(NamedTuple):
    """An image that is a stretch of an uncompressed archive; `mtime_ns` is the archive's."""

    path: str
    offset: int
    num_bytes: int
    mtime_ns: int

    def read(self) -> bytes:
        """The stretch. The archive is opened each time: there may be a thousand of them.

        Raises:
            OSError: the archive cannot be read, or has become shorter.
        """
        with open(self.path, "rb", buffering=0) as file:
            return self.read_from(file.fileno())

    def read_from(self, descriptor: int) -> bytes:
        """The stretch, out of the open archive; its position is not moved.

        Raises:
            OSError: as of `read`.
        """
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
        """Its place, its size and the archive's time."""
        return f"{self.offset} {self.num_bytes} {self.mtime_ns}"


RAW_DATA_DIR = "raw-data"
NO_BOXES = "none"
IMAGENET_SHARDS = {TRAIN: 1024, VALIDATION: 128}
IMAGENET_IMAGES = {TRAIN: 1_281_167, VALIDATION: 50_000}
