"""How large the tuples of a pickle become, without building any.

Python hashes a tuple by recursion, into every place where a part is used: a deep one overflows
the stack, and a few dozen that each hold the one before twice take for ever.
"""

from __future__ import annotations

import pickletools
from typing import Any

from checkpoints.errors import WeightsError

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
          WeightsError: a tuple is larger than any state dict has.
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
        raise WeightsError(f"nests tuples of more than {_LARGEST} parts: refused")
    return size
