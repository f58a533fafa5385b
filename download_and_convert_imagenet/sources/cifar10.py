"""CIFAR-10 from its official archives; the python and the binary version give the same images.

Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. The layouts are those of
https://www.cs.toronto.edu/~kriz/cifar.html. Images become PNG, which loses nothing: at 32x32 pixels
JPEG would lose visible detail.
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

from common.errors import DataError
from common.files import naming
from download_and_convert_imagenet.sources.image_source import (
    TRAIN,
    VALIDATION,
    ImageSource,
    SourceImage,
)
from download_and_convert_imagenet.sources.tar import tar_files

ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin")
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
IMAGES_PER_BATCH = 10_000
_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST_BATCH = "test_batch"
_BATCHES = (*_TRAIN_BATCHES, _TEST_BATCH)
_BINARY_SUFFIX = ".bin"
_SIDE = 32
_PIXEL_BYTES = 3 * _SIDE * _SIDE

Batch = tuple[np.ndarray, np.ndarray]
"""Pixels, uint8 [images, 3072], red plane first; labels, int64 [images], 0 to 9."""


def cifar10_source(path: Path) -> ImageSource:
    """Reads all images into memory (180 MB).

    Args:
        path: an archive, a folder of batches, or a directory that holds one of these.

    Raises:
        DataError: there is no archive and no folder of batches, or it is incomplete or damaged.
        OSError: it cannot be read.
    """
    batches = _read_batches(_find(path))
    train = [batches[name] for name in _TRAIN_BATCHES]
    splits = {
        TRAIN: _images(TRAIN, train),
        VALIDATION: _images(VALIDATION, [batches[_TEST_BATCH]]),
    }
    return ImageSource("cifar10", CLASS_NAMES, splits, keep_png=True)


@dataclass(frozen=True, slots=True)
class Cifar10Image:
    """The pixels of one image as the archives have them: uint8 [3, 32, 32]."""

    pixels: bytes

    def read(self) -> bytes:
        """Returns the image as PNG."""
        planes = np.frombuffer(self.pixels, np.uint8).reshape(3, _SIDE, _SIDE)
        encoded = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))).save(encoded, "PNG")
        return encoded.getvalue()

    @property
    def num_bytes(self) -> int:
        """Bytes of the pixels; PNG needs about three quarters of them."""
        return _PIXEL_BYTES

    @property
    def fingerprint(self) -> str:
        """Hash of the pixels: the same for both versions of the archive."""
        return hashlib.sha256(self.pixels).hexdigest()


def _find(path: Path) -> Path:
    """Returns the archive or the folder of batches that `path` is or holds."""
    if path.is_file() or any(
        (path / f"{_TEST_BATCH}{suffix}").exists() for suffix in ("", _BINARY_SUFFIX)
    ):
        return path
    for name in (*FOLDERS, *ARCHIVES):
        if (path / name).exists():
            return path / name
    raise DataError(
        f"{path} holds neither {' nor '.join(ARCHIVES)} nor what they unpack to "
        f"({', '.join(FOLDERS)})"
    )


def _images(split: str, batches: list[Batch]) -> list[SourceImage]:
    """Returns the images class by class; their names count them in the order of the archive."""
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
    """Reads all six batches, by their names without suffix."""
    batches = {}
    for file_name, content in _files(path):
        name = file_name.removesuffix(_BINARY_SUFFIX)
        if name in _BATCHES:
            is_binary = file_name != name
            batches[name] = _parse_batch(content, f"{path}: {file_name}", is_binary=is_binary)
    missing = [name for name in _BATCHES if name not in batches]
    if missing:
        raise DataError(f"{path} is not all of CIFAR-10: {', '.join(missing)} not found")
    return batches


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields base name and content of the files in an archive, or of the batches in a folder."""
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.name.removesuffix(_BINARY_SUFFIX) in _BATCHES:
                with naming(file):
                    yield file.name, file.read_bytes()
    else:
        for name, content in tar_files(path):
            yield Path(name).name, content


def _parse_batch(content: bytes, where: str, *, is_binary: bool) -> Batch:
    try:
        pixels, labels = _parse_binary(content) if is_binary else _parse_pickle(content)
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error) or type(error).__name__
        raise DataError(f"{where} is not a batch of CIFAR-10 ({reason})") from error
    if len(labels) != IMAGES_PER_BATCH:
        raise DataError(f"{where} has {len(labels):,} images, not {IMAGES_PER_BATCH:,}")
    if not 0 <= labels.min() <= labels.max() < len(CLASS_NAMES):
        raise DataError(f"{where} has labels {labels.min()} to {labels.max()}, not 0 to 9")
    return pixels, labels


def _parse_binary(content: bytes) -> Batch:
    """Parses rows of a label byte and 3072 bytes of pixels."""
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXEL_BYTES)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


def _parse_pickle(content: bytes) -> Batch:
    """Reads a dictionary pickled by Python 2: pixels, uint8 [images, 3072], and their labels."""
    batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    pixels = batch[b"data"]
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        raise ValueError("its data are not an array of bytes")
    pixels = pixels.reshape(-1, _PIXEL_BYTES)
    labels = np.asarray(batch[b"labels"], np.int64).reshape(-1)
    if len(pixels) != len(labels):
        raise ValueError(f"{len(pixels)} images and {len(labels)} labels")
    return pixels, labels


class _BatchUnpickler(pickle.Unpickler):
    """Makes arrays and plain values only: a pickle from elsewhere could call any function."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if global_name == "_reconstruct" and module_name.endswith("core.multiarray"):
            return _empty_array
        if (module_name, global_name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, global_name)
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def _empty_array(_subtype: type, _shape: tuple[int, ...], _dtype: bytes) -> np.ndarray:
    """Returns what a pickled array starts as, before its shape and its bytes are set."""
    return np.ndarray.__new__(np.ndarray, (0,), "b")
