"""Loads the pickles of a torch state dict, and refuses every other.

Two fences. First the opcodes are listed without running any (`pickletools.genops`): one that a
state dict does not need, a name that is not admitted, or a huge tuple is refused. Then the
unpickler itself looks names up in a table of stand-ins that hold no state a pickle could change and
import nothing.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, NamedTuple

import numpy as np

from checkpoints.errors import WeightsError
from checkpoints.pickle_tuples import TupleSizes

# fmt: off
_OPCODES = frozenset((
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
    "LONG1", "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST",
    "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "GLOBAL", "REDUCE", "BUILD",
    "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
))
# fmt: on
# A memo index decides how much memory the unpickler takes.
_LARGEST_MEMO_INDEX = 1_000_000
_STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}
_MAX_DIMENSIONS = 8
# More elements than any file holds, and few enough to be counted in bytes by 64 bits.
_LARGEST_SIZE = 2**40


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
    """The next object of `file`, whose position is then behind it.

    Returns:
      Numbers, strings, lists, tuples, dicts (also for an OrderedDict) and `TensorView`s.

    Raises:
      WeightsError: not a pickle, or one with anything that a state dict does not need.
    """
    start = file.tell()
    _check_opcodes(file)
    file.seek(start)
    try:
        return _Unpickler(file).load()
    except WeightsError:
        raise
    except Exception as error:  # whatever a crafted pickle provokes
        raise WeightsError(f"is not a state dict ({type(error).__name__})") from error


def _check_opcodes(file: io.BytesIO) -> None:
    tuples = TupleSizes()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "GLOBAL":
                _check_name(*str(argument).split(" ", 1))
            elif opcode.name not in _OPCODES:
                raise WeightsError(
                    f"uses the pickle instruction {opcode.name}, which no state dict needs: refused"
                )
            elif opcode.name == "LONG_BINPUT" and int(argument or 0) > _LARGEST_MEMO_INDEX:
                raise WeightsError(f"uses the pickle memo {argument}: refused")
            tuples.follow(opcode, argument)
    except WeightsError:
        raise
    except Exception as error:  # genops raises ValueError, and others on crafted input
        raise WeightsError("is not a torch file, or is cut off") from error


def _check_name(module: str, name: str = "") -> None:
    if (module, name) not in _ADMITTED:
        raise WeightsError(
            f"names {module}.{name}, which no state dict needs: refused, and nothing was run"
        )


class _StorageType(NamedTuple):
    """Stands for torch.FloatStorage and the like; only these reach `persistent_load` as a type."""

    dtype: str


class _StateDict(dict):
    """Stands for collections.OrderedDict; torch attaches metadata, which is dropped.

    Files of Python 2 are not read: it gives an OrderedDict its items as an argument, which Python 3
    sets one by one, and its strings need other instructions.
    """

    __slots__ = ()

    def __init__(self) -> None:  # dict's own would hash whatever it is given
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        del state


class _TensorRebuilder:
    """Stands for torch._utils._rebuild_tensor_v2."""

    __slots__ = ()

    def __call__(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        requires_grad: Any = False,
        backward_hooks: Any = None,
    ) -> TensorView:
        del requires_grad, backward_hooks
        sizes = (offset, *shape, *strides)
        if (
            not isinstance(storage, Storage)
            or len(shape) != len(strides)
            or len(shape) > _MAX_DIMENSIONS
            or not all(type(size) is int and 0 <= size <= _LARGEST_SIZE for size in sizes)
        ):
            raise WeightsError("describes a tensor that cannot be")
        return TensorView(storage, offset, tuple(shape), tuple(strides))


_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _StateDict,
    ("torch._utils", "_rebuild_tensor_v2"): _TensorRebuilder(),
    **{("torch", name): _StorageType(dtype) for name, dtype in _STORAGE_DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        _check_name(module, name)
        return _ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        """Torch's reference to a storage: kind, type, key, device, elements, view of another."""
        kind, storage_type, key, _, num_elements, view = pid
        if (
            kind != "storage"
            or not isinstance(storage_type, _StorageType)
            or type(key) is not str
            or type(num_elements) is not int
            or num_elements < 0
            or view is not None
        ):
            raise WeightsError("describes a storage that cannot be")
        return Storage(key, np.dtype(storage_type.dtype), num_elements)
