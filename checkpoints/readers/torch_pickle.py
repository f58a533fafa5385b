"""Loads the pickles of a torch state dict, and refuses every other.

Two fences. First the opcodes are listed without running any (`pickletools.genops`): one that a
state dict does not need, a name that is not admitted, or a huge tuple is refused. Then the
unpickler itself looks names up in a table of stand-ins that hold no state a pickle could change and
import nothing.

How large the tuples of a pickle become, without building any.

Python hashes a tuple by recursion, into every place where a part is used: a deep one overflows
the stack, and a few dozen that each hold the one before twice take for ever.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, NamedTuple

import numpy as np

from common.errors import DataError

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
      DataError: not a pickle, or one with anything that a state dict does not need.
    """
    start = file.tell()
    _check_opcodes(file)
    file.seek(start)
    try:
        return _Unpickler(file).load()
    except DataError:
        raise
    except Exception as error:  # whatever a crafted pickle provokes
        raise DataError(f"is not a state dict ({type(error).__name__})") from error


def _check_opcodes(file: io.BytesIO) -> None:
    tuples = TupleSizes()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "GLOBAL":
                _check_name(*str(argument).split(" ", 1))
            elif opcode.name not in _OPCODES:
                raise DataError(
                    f"uses the pickle instruction {opcode.name}, which no state dict needs: refused"
                )
            elif opcode.name == "LONG_BINPUT" and int(argument or 0) > _LARGEST_MEMO_INDEX:
                raise DataError(f"uses the pickle memo {argument}: refused")
            tuples.follow(opcode, argument)
    except DataError:
        raise
    except Exception as error:  # genops raises ValueError, and others on crafted input
        raise DataError("is not a torch file, or is cut off") from error


def _check_name(module: str, name: str = "") -> None:
    if (module, name) not in _ADMITTED:
        raise DataError(
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
            raise DataError("describes a tensor that cannot be")
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
            raise DataError("describes a storage that cannot be")
        return Storage(key, np.dtype(storage_type.dtype), num_elements)


_LARGEST = 10_000
_PUT = ("BINPUT", "LONG_BINPUT")
_GET = ("BINGET", "LONG_BINGET")


class TupleSizes:
    """The unpickler's stack, with the size of each object in its place.

    A tuple's size is one more than those of its parts; any other object's is 1, since none of them
    can be hashed with what it holds.
    """

    def __init__(self) -> None:
        self._stack: list[int | None] = []  # None is a mark
        self._memo: dict[Any, int | None] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do to the sizes what an instruction does to the objects.

        Raises:
          DataError: a tuple is larger than any state dict has.
          IndexError, KeyError, TypeError: the instruction cannot be run there.
        """
        if opcode.name in _PUT:
            self._memo[argument] = self._stack[-1]
        elif opcode.name in _GET:
            self._stack.append(self._memo[argument])
        else:
            parts = self._pop(opcode)
            for result in opcode.stack_after:
                self._stack.append(_size(result, parts))

    def _pop(self, opcode: pickletools.OpcodeInfo) -> list[int | None]:
        count = len(opcode.stack_before)
        parts: list[int | None] = []
        if pickletools.markobject in opcode.stack_before:
            count = opcode.stack_before.index(pickletools.markobject)
            while (size := self._stack.pop()) is not None:
                parts.append(size)
        parts += [self._stack.pop() for _ in range(count)]
        return parts


def _size(result: pickletools.StackObject, parts: list[int | None]) -> int | None:
    if result is pickletools.markobject:
        return None
    if result is not pickletools.pytuple:
        return 1
    size = 1 + sum(part for part in parts if part is not None)
    if size > _LARGEST:
        raise DataError(f"nests tuples of more than {_LARGEST} parts: refused")
    return size
