"""Writes torch's first file format opcode by opcode, for good files and for bad ones."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_STORAGES = {"float32": b"FloatStorage", "int64": b"LongStorage", "float16": b"HalfStorage"}
_HEAD = (
    pickle.dumps(MAGIC_NUMBER, 2),
    pickle.dumps(1001, 2),
    pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2),
)


def integer(value: int) -> bytes:
    if not -(2**31) <= value < 2**31:
        digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(digits)]) + digits
    return b"J" + struct.pack("<i", value)


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def numbers(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(key: str, count: int, kind: bytes = b"FloatStorage") -> bytes:
    """A persistent id: ('storage', torch.FloatStorage, key, 'cpu', count, None)."""
    return (
        b"("
        + text("storage")
        + b"ctorch\n"
        + kind
        + b"\n"
        + text(key)
        + text("cpu")
        + integer(count)
        + b"NtQ"
    )


def tensor(
    reference: bytes, shape: Sequence[int], strides: Sequence[int], offset: int = 0
) -> bytes:
    """torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict())."""
    arguments = reference + integer(offset) + numbers(shape) + numbers(strides) + b"\x89"
    empty = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + empty + b"tR"


def state_dict(items: Mapping[str, bytes]) -> bytes:
    """An OrderedDict of the items, with the metadata that torch attaches."""
    content = b"".join(text(name) + value for name, value in items.items())
    metadata = b"}" + text("_metadata") + b"}s"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + content + b"u" + metadata + b"b."


def contents(state: bytes, storages: Mapping[str, np.ndarray], keys: object = None) -> bytes:
    """A whole file: head, state dict, keys, storages."""
    keys = list(storages) if keys is None else keys
    parts = [*_HEAD, state, pickle.dumps(keys, 2)]
    for values in storages.values():
        parts += [struct.pack("<q", values.size), values.tobytes()]
    return b"".join(parts)


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """A good file of these contiguous tensors, each in a storage of its own."""
    storages = {str(1000 + i): values for i, values in enumerate(tensors.values())}
    items = {}
    for (name, values), key in zip(tensors.items(), storages, strict=True):
        strides = [step // values.itemsize for step in values.strides]
        reference = storage(key, values.size, _STORAGES[values.dtype.name])
        items[name] = tensor(reference, values.shape, strides)
    path.write_bytes(contents(state_dict(items), storages))
    return path
