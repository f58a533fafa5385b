"""CIFAR-10 from its official archives, the python and the binary version: the same images of both.

Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. Images become PNG, which
loses nothing: of 32x32 pixels JPEG leaves visibly less, and every reader of the records knows PNG.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from download_and_convert_imagenet.cifar10_batches import (
    BINARY_SUFFIX,
    PIXEL_BYTES,
    SIDE,
    TEST_BATCH,
    TRAIN_BATCHES,
    Batch,
    BatchError,
    parse_batch,
)
from download_and_convert_imagenet.file_errors import naming
from download_and_convert_imagenet.image_source import (
    TRAIN,
    VALIDATION,
    ImageSource,
    SourceError,
    SourceImage,
)
from download_and_convert_imagenet.tar_streams import tar_files

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin")


@dataclass(frozen=True, slots=True)
class Cifar10Image:
    """The pixels of one image as the archives have them: uint8 [3, 32, 32]."""

    pixels: bytes

    def read(self) -> bytes:
        """The image as PNG."""
        planes = np.frombuffer(self.pixels, np.uint8).reshape(3, SIDE, SIDE)
        encoded = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))).save(encoded, "PNG")
        return encoded.getvalue()

    @property
    def num_bytes(self) -> int:
        """The number of its pixels' bytes; PNG needs about three quarters of them."""
        return PIXEL_BYTES

    @property
    def fingerprint(self) -> str:
        """Of the pixels: the same for both versions of the archive."""
        return hashlib.sha256(self.pixels).hexdigest()


def cifar10_source(path: Path) -> ImageSource:
    """CIFAR-10 from an archive, from its unpacked folder, or from a directory with one of them.

    Raises:
        SourceError: it is none of these, or it is incomplete or damaged.
        OSError: it cannot be read.
    """
    batches = _read_batches(_find(path))
    train = [batches[name] for name in TRAIN_BATCHES]
    splits = {
        TRAIN: _images(TRAIN, train),
        VALIDATION: _images(VALIDATION, [batches[TEST_BATCH]]),
    }
    return ImageSource("cifar10", CLASS_NAMES, splits, keep_png=True)


def _find(path: Path) -> Path:
    """The archive or the folder of batches that `path` is or holds."""
    if (
        path.is_file()
        or (path / TEST_BATCH).exists()
        or (path / f"{TEST_BATCH}{BINARY_SUFFIX}").exists()
    ):
        return path
    for name in (*FOLDERS, *ARCHIVES):
        if (path / name).exists():
            return path / name
    raise SourceError(
        f"{path} holds neither {' nor '.join(ARCHIVES)} nor what they unpack to "
        f"({', '.join(FOLDERS)})"
    )


def _images(split: str, batches: list[Batch]) -> list[SourceImage]:
    """Class by class; their names count them in the order of the archive."""
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return [
        SourceImage(
            name=f"{split}_{index:05d}.png",
            label=int(labels[index]) + 1,
            synset=CLASS_NAMES[labels[index]],
            text=CLASS_NAMES[labels[index]],
            location=Cifar10Image(pixels[index].tobytes()),
        )
        for index in np.argsort(labels, kind="stable").tolist()
    ]


def _read_batches(path: Path) -> dict[str, Batch]:
    """All six batches by their names without suffix."""
    batches = {}
    for name, content in _files(path):
        if _is_batch(name):
            try:
                batch = parse_batch(content, is_binary=name.endswith(BINARY_SUFFIX))
            except BatchError as error:
                raise SourceError(f"{path}: {name} {error}") from error
            batches[name.removesuffix(BINARY_SUFFIX)] = batch
    missing = [name for name in (*TRAIN_BATCHES, TEST_BATCH) if name not in batches]
    if missing:
        raise SourceError(f"{path} is not all of CIFAR-10: {', '.join(missing)} not found")
    return batches


def _is_batch(name: str) -> bool:
    return name.removesuffix(BINARY_SUFFIX) in (*TRAIN_BATCHES, TEST_BATCH)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Base name and content of the files in an archive, or of the batches in a folder."""
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if _is_batch(file.name):
                with naming(file):
                    yield file.name, file.read_bytes()
        return
    for name, content in tar_files(path):
        yield Path(name).name, content
