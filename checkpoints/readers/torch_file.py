"""Reads tensors from torch's first file format (torch.save before 1.6), without torch.

The file is five pickles (magic number, protocol, facts of the machine that wrote it, the state
dict, the keys of the storages), then each storage: its number of elements as int64 and the raw
elements.

`torch_pickle` refuses whatever a state dict does not need, and the numbers that describe a tensor
are checked against its storage before any memory is touched.
"""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints.readers import torch_pickle
from checkpoints.readers.torch_pickle import Storage, TensorView
from common.errors import DataError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
_ZIP_SIGNATURE = b"PK\x03\x04"
_COUNT_BYTES = 8


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns name -> array of every tensor in a state dict, in the file's order.

    Raises:
        DataError: It is not such a file, is damaged, or names anything that a state dict does not
            need. Nothing that the file names is ever run.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
    try:
        return _read(io.BytesIO(content), len(content))
    except DataError as error:
        raise DataError(f"{os.fspath(path)}: {error}") from error


def _read(file: io.BytesIO, size_bytes: int) -> dict[str, np.ndarray]:
    if file.read(len(_ZIP_SIGNATURE)) == _ZIP_SIGNATURE:
        raise DataError("is in torch's zip format; only the older format is read")
    file.seek(0)
    _expect("magic number", torch_pickle.load(file), MAGIC_NUMBER)
    _expect("protocol version", torch_pickle.load(file), PROTOCOL_VERSION)
    machine = torch_pickle.load(file)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise DataError("was not written on a little-endian machine")
    state = torch_pickle.load(file)
    if not isinstance(state, dict):
        raise DataError("does not hold a state dict")
    views = {name: view for name, view in state.items() if isinstance(view, TensorView)}
    if len(views) != len(state) or not all(isinstance(name, str) for name in views):
        raise DataError("its state dict holds something that is not a named tensor")
    storages = _read_storages(file, size_bytes, torch_pickle.load(file), views)
    return {name: _array(name, view, storages[view.storage.key]) for name, view in views.items()}


def _expect(what: str, found: Any, wanted: int) -> None:
    if type(found) is not int or found != wanted:
        raise DataError(f"has the wrong {what}: it is not a file of torch's first format")


def _read_storages(
    file: io.BytesIO, size_bytes: int, keys: Any, views: dict[str, TensorView]
) -> dict[str, np.ndarray]:
    """Returns key -> 1-D array of every storage; tensors must use all of them and no others."""
    described: dict[str, Storage] = {}
    for view in views.values():
        if described.setdefault(view.storage.key, view.storage) != view.storage:
            raise DataError(f"describes storage {view.storage.key!r} in two ways")
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or sorted(keys) != sorted(described)
    ):
        raise DataError("its storages are not those that its tensors use")
    storages = {}
    for key in keys:
        storage = described[key]
        count = int.from_bytes(file.read(_COUNT_BYTES), "little", signed=True)
        num_bytes = storage.num_elements * storage.dtype.itemsize
        if count != storage.num_elements or num_bytes > size_bytes - file.tell():
            raise DataError(f"is damaged or cut off at storage {key!r}")
        storages[key] = np.frombuffer(file.read(num_bytes), storage.dtype)
    if file.tell() != size_bytes:
        raise DataError(f"has {size_bytes - file.tell()} bytes after its last storage")
    return storages


def _array(name: str, view: TensorView, storage: np.ndarray) -> np.ndarray:
    """Returns the contiguous copy of a strided view, which must lie within its storage."""
    shape, strides = view.shape, view.strides
    last = view.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # The number of elements is bounded as well: a stride of zero repeats one without end.
    if 0 not in shape and (math.prod(shape) > len(storage) or last >= len(storage)):
        raise DataError(f"tensor {name!r} reaches beyond its storage")
    try:
        if 0 in shape:
            return np.zeros(shape, storage.dtype)
        steps = [stride * storage.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(storage[view.offset :], shape, steps).copy()
    except (ValueError, OverflowError) as error:
        raise DataError(f"tensor {name!r} has a size that NumPy does not have: {error}") from error
