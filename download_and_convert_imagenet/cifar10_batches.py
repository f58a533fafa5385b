"""CIFAR-10's batches of 10,000 images: rows of bytes, or pickles of Python 2.

The layouts are those of https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

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
