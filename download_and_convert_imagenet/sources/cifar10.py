"""CIFAR-10 from its official archives, the python and the binary version: the same images of both.

Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. Images become PNG, which
loses nothing: of 32x32 pixels JPEG leaves visibly less, and every reader of the records knows PNG.

CIFAR-10's batches of 10,000 images: rows of bytes, or pickles of Python 2.

The layouts are those of https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.files import naming
from download_and_convert_imagenet.sources.image_source import (
    TRAIN,
    VALIDATION,
    ImageSource,
    SourceError,
    SourceImage,
)
from download_and_convert_imagenet.sources.tar import tar_files

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


NUM_CLASSES = 10
SIDE = 32
PIXEL_BYTES = 3 * SIDE * SIDE
IMAGES_PER_BATCH = 10_000
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
BINARY_SUFFIX = ".bin"

Batch = tuple[np.ndarray, np.ndarray]
"""Pixels, uint8 [images, 3072], red plane first; labels, int64 [images], 0 to 9."""


class BatchError(ValueError):
    """A file that is no batch; the message follows its name."""


def parse_batch(content: bytes, *, is_binary: bool) -> Batch:
    """Read a batch of the binary version, or of the python version.

    Raises:
        BatchError: it is none, or not a whole one.
    """
    try:
        pixels, labels = _parse_binary(content) if is_binary else _parse_pickle(content)
    except Exception as error:  # a damaged pickle raises whatever its instructions come to
        reason = str(error) or type(error).__name__
        raise BatchError(f"is no batch of CIFAR-10 ({reason})") from error
    if len(labels) != IMAGES_PER_BATCH:
        raise BatchError(f"has {len(labels):,} images, not {IMAGES_PER_BATCH:,}")
    if not 0 <= labels.min() <= labels.max() < NUM_CLASSES:
        raise BatchError(f"has labels {labels.min()} to {labels.max()}, not 0 to 9")
    return pixels, labels


def _parse_binary(content: bytes) -> Batch:
    """Rows of a label byte and 3072 bytes of pixels."""
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXEL_BYTES)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


def _parse_pickle(content: bytes) -> Batch:
    """A pickled dictionary of Python 2 with the pixels, uint8 [images, 3072], and their labels."""
    batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    pixels = batch[b"data"]
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        raise ValueError("its data are no array of bytes")
    pixels = pixels.reshape(-1, PIXEL_BYTES)
    labels = np.asarray(batch[b"labels"], np.int64).reshape(-1)
    if len(pixels) != len(labels):
        raise ValueError(f"{len(pixels)} images and {len(labels)} labels")
    return pixels, labels


class _BatchUnpickler(pickle.Unpickler):
    """Makes arrays and plain values only: a pickle from elsewhere could call anything."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if global_name == "_reconstruct" and module_name.endswith("core.multiarray"):
            return _empty_array
        if (module_name, global_name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, global_name)
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def _empty_array(_subtype: type, _shape: tuple[int, ...], _dtype: bytes) -> np.ndarray:
    """What a pickled array starts as, before its shape and its bytes are put in."""
    return np.ndarray.__new__(np.ndarray, (0,), "b")
