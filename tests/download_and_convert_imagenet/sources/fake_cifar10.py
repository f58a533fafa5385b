"""CIFAR-10's archives with a few images, in the layouts of the official ones."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from download_and_convert_imagenet.sources import cifar10

IMAGES_PER_BATCH = 20


@contextlib.contextmanager
def small_batches() -> Iterator[None]:
    """Within, a batch that has IMAGES_PER_BATCH images instead of 10,000 is whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "IMAGES_PER_BATCH", IMAGES_PER_BATCH)
        yield


def fake_images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Batch -> pixels uint8 [images, 32, 32, 3] and labels int64 [images], 0 to 9.

    An image is of one brightness a class, with noise: easily learned.
    """
    random = np.random.default_rng(10)
    batches = {}
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        labels = random.permutation(np.arange(IMAGES_PER_BATCH) % 10)
        noise = random.integers(0, 20, (IMAGES_PER_BATCH, 32, 32, 3))
        batches[name] = ((labels[:, None, None, None] * 23 + noise).astype(np.uint8), labels)
    return batches


def binary_files() -> dict[str, bytes]:
    """The files of cifar-10-binary.tar.gz."""
    files = {"batches.meta.txt": b"airplane\nautomobile\n", "readme.html": b"<html></html>"}
    for name, (pixels, labels) in fake_images().items():
        rows = [
            bytes([label]) + image.transpose(2, 0, 1).tobytes()
            for image, label in zip(pixels, labels.tolist(), strict=True)
        ]
        files[f"{name}.bin"] = b"".join(rows)
    return files


def python_files() -> dict[str, bytes]:
    """The files of cifar-10-python.tar.gz: one pickled dictionary a batch."""
    files = {"batches.meta": pickle.dumps({b"num_vis": 3072}, 2), "readme.html": b"<html></html>"}
    for name, (pixels, labels) in fake_images().items():
        rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), 3072)
        items = {
            "batch_label": _string(name.encode()),
            "labels": _list([_integer(label) for label in labels.tolist()]),
            "data": _array(rows),
            "filenames": _list(
                [_string(b"image_%d.png" % number) for number in range(len(labels))]
            ),
        }
        pairs = b"".join(_string(key.encode()) + value for key, value in items.items())
        files[name] = pickle.PROTO + b"\2" + pickle.EMPTY_DICT + b"(" + pairs + b"u."
    return files


# What Python 2 wrote, with protocol 2: text is in byte strings, which Python 3 pickles otherwise.


def _string(content: bytes) -> bytes:
    return pickle.BINSTRING + struct.pack("<i", len(content)) + content


def _integer(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _list(items: list[bytes]) -> bytes:
    return pickle.EMPTY_LIST + pickle.MARK + b"".join(items) + pickle.APPENDS


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _global(module: bytes, name: bytes) -> bytes:
    return pickle.GLOBAL + module + b"\n" + name + b"\n"


def _array(rows: np.ndarray) -> bytes:
    """A NumPy array of bytes: made by _reconstruct, then given its shape, type and content."""
    empty = _tuple(_global(b"numpy", b"ndarray"), _tuple(_integer(0)), _string(b"b"))
    unsigned_byte = (
        _global(b"numpy", b"dtype")
        + _tuple(_string(b"u1"), _integer(0), _integer(1))
        + pickle.REDUCE
        + _tuple(_integer(3), _string(b"|"), b"NNN", _integer(-1), _integer(-1), _integer(0))
        + pickle.BUILD
    )
    shape = _tuple(*(_integer(size) for size in rows.shape))
    state = _tuple(_integer(1), shape, unsigned_byte, pickle.NEWFALSE, _string(rows.tobytes()))
    made = _global(b"numpy.core.multiarray", b"_reconstruct") + empty + pickle.REDUCE
    return made + state + pickle.BUILD


def write_folder(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(files: dict[str, bytes], folder: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
