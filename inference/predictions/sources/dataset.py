"""A data set to predict: its images, where their bytes are, and the classes that they have."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from download_and_convert_imagenet.records.image_headers import CorruptImageError
from download_and_convert_imagenet.records.image_repair import prepare_image
from download_and_convert_imagenet.sources.image_source import ImageLocation


class Image(NamedTuple):
    """One image of a data set.

    Attributes:
        name: identifies it in the data set, "ILSVRC2012_val_00000001.JPEG" or "tulip/a.jpg".
        label: of its class among those of the data set, from 0.
        location: of its bytes.
    """

    name: str
    label: int
    location: ImageLocation


@dataclass(frozen=True)
class PixelRule:
    """How the bytes of an image file become those of a record, see `prepare_image`."""

    keep_png: bool = True
    upright: bool = True


@dataclass(frozen=True)
class DataSet:
    """A data set to predict.

    Attributes:
        name: of its directory.
        directory: as it was given.
        subset: "train" or "validation"; None if the data set has no splits.
        images: in the order of the table.
        class_names: in words, label 0 first.
        wordnet_ids: of the classes; empty if they have none.
        rule: for image files; None for records, whose images are stored as networks see them.
        images_directory: to which the names are relative; None for records.
        notes: lines about what was found.
    """

    name: str
    directory: Path
    subset: str | None
    images: Sequence[Image]
    class_names: tuple[str, ...]
    wordnet_ids: tuple[str, ...]
    rule: PixelRule | None
    images_directory: Path | None = None
    notes: tuple[str, ...] = ()

    def sha256(self) -> str:
        """Returns a hash of the names, classes and sizes of all images, in their order.

        Reading every byte of a large data set would take as long as predicting it.
        """
        digest = hashlib.sha256()
        classes = self.wordnet_ids or self.class_names
        for name, label, location in self.images:
            line = f"{name}\0{classes[label]}\0{location.num_bytes}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def printable(name: str) -> str:
    """Returns a name of an image as tables hold it: bytes that are no text become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def encoded(image: Image, rule: PixelRule | None) -> bytes:
    """Returns the bytes of an image as a converted record holds them: a JPEG or a PNG.

    Raises:
        DataError: it cannot be read, or is no image.
    """
    try:
        content = image.location.read()
        if rule is None:
            return content
        return prepare_image(content, keep_png=rule.keep_png, upright=rule.upright).encoded
    except CorruptImageError as error:
        raise DataError(f"{image.name} {error}") from error
    except OSError as error:
        raise DataError(f"{image.name} cannot be read: {error.strerror or error}") from error
