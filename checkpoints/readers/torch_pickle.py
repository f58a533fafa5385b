"""Unpickles a torch state dict without torch, and refuses every other pickle.

A pickle may call any function of any module. `find_class` is the security boundary: it has
stand-ins for the seven names that a state dict uses and refuses every other one, so that nothing
which a file names is imported or run. Time and memory are not bounded; therefore the published
files are compared with their SHA-256 before they are read (`published.weight_file`).
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NamedTuple

import numpy as np

from common.errors import DataError

_STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


class Storage(NamedTuple):
    """A run of elements that comes later in the file."""

    key: str
    dtype: np.dtype
    num_elements: int


class TensorView(NamedTuple):
    """A tensor as strides over a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def load(file: io.BytesIO) -> Any:
    """Reads the next object of `file` and leaves the position after it.

    Returns:
        Numbers, strings, lists, tuples, dicts (also for an OrderedDict) and `TensorView`s.

    Raises:
        DataError: It is not a pickle, or one with anything that a state dict does not need.
    """
    try:
        return _Unpickler(file).load()
    except DataError:
        raise
    except Exception as error:  # whatever a crafted pickle provokes
        raise DataError(f"is not a torch file, or is damaged ({type(error).__name__})") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _StateDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: _tensor_view(*arguments)  # a pickle may set its attributes
        if module == "torch" and name in _STORAGE_DTYPES:
            return name
        raise DataError(
            f"names {module}.{name}, which no state dict needs: refused, and nothing was run"
        )

    def persistent_load(self, pid: Any) -> Storage:
        """Reads a reference to a storage: kind, type, key, device, elements, view of another."""
        kind, storage_type, key, _, num_elements, view = pid
        is_valid = kind == "storage" and type(key) is str and view is None
        if not is_valid or storage_type not in _STORAGE_DTYPES or not _are_sizes(num_elements):
            raise DataError("describes a storage that cannot exist")
        return Storage(key, np.dtype(_STORAGE_DTYPES[storage_type]), num_elements)


class _StateDict(dict):
    """Stands for collections.OrderedDict."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Drops the metadata that torch attaches, so that no attribute can be set."""


def _tensor_view(
    storage: Any, offset: Any, shape: Any, strides: Any, *_requires_grad_and_hooks: Any
) -> TensorView:
    is_valid = isinstance(storage, Storage) and len(shape) == len(strides)
    if not is_valid or not _are_sizes(offset, *shape, *strides):
        raise DataError("describes a tensor that cannot exist")
    return TensorView(storage, offset, tuple(shape), tuple(strides))


def _are_sizes(*numbers: Any) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)
