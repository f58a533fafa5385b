"""TFRecord files from the outside: where records start, which are damaged, where the next is.

TensorFlow's reader checks every record, but names neither the file nor the record that is damaged,
and does not get past it. This reader does both; only damaged files meet it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import DataError
from download_and_convert_imagenet.records.crc32c import masked_crc32c, masked_crc32c_of_windows

# A record is: uint64 length, uint32 checksum of the length, data, uint32 checksum of the data.
_LENGTH_BYTES = 8
HEADER_BYTES = 12
FRAME_BYTES = 16
_SEARCH_BYTES = 1 << 20


@dataclass(frozen=True)
class RecordSpan:
    """Where a record lies. `problem` says why it cannot be read; its data is not checked here."""

    offset: int
    num_bytes: int
    problem: str = ""


def walk_records(path: Path) -> Iterator[RecordSpan]:
    """Every record of a file by its header, without reading the data.

    Where a header is damaged or the file is cut, one span with a problem stands for what lies
    between it and the next valid header, however many records that were.

    Raises:
        DataError: the file cannot be opened or read.
    """
    with _opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
        offset = 0
        while offset < size:
            span = _read_header(descriptor, offset, size)
            if span.problem:
                end = _next_header(descriptor, offset + 1, size)
                span = RecordSpan(offset, end - offset, span.problem)
            yield span
            offset += span.num_bytes


def record_at(path: Path, offset: int) -> RecordSpan:
    """The record that starts at `offset`, its header and its data checked.

    Raises:
        DataError: the file cannot be opened or read.
    """
    with _opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
        span = _read_header(descriptor, offset, size)
        if span.problem:
            return span
        framed = os.pread(descriptor, span.num_bytes - HEADER_BYTES, offset + HEADER_BYTES)
    (stored,) = struct.unpack("<I", framed[-4:])
    if stored != masked_crc32c(framed[:-4]):
        return RecordSpan(offset, span.num_bytes, "the checksum of its data differs")
    return span


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The file's descriptor; an error of the operating system inside becomes a DataError."""
    try:
        with path.open("rb", buffering=0) as file:
            yield file.fileno()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _read_header(descriptor: int, offset: int, size: int) -> RecordSpan:
    header = os.pread(descriptor, HEADER_BYTES, offset)
    if len(header) < HEADER_BYTES:
        return RecordSpan(offset, size - offset, "the file ends inside it")
    length, stored = struct.unpack("<QI", header)
    if stored != masked_crc32c(header[:_LENGTH_BYTES]):
        return RecordSpan(offset, size - offset, "the checksum of its length differs")
    if offset + FRAME_BYTES + length > size:
        return RecordSpan(offset, size - offset, "the file ends inside it")
    return RecordSpan(offset, FRAME_BYTES + length)


def _next_header(descriptor: int, start: int, size: int) -> int:
    """The first offset from `start` on where a whole record may begin; `size` if there is none."""
    while start + FRAME_BYTES <= size:
        data = os.pread(descriptor, _SEARCH_BYTES, start)
        computed = masked_crc32c_of_windows(data[:-4], _LENGTH_BYTES)
        stored = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), 4)
        stored = np.ascontiguousarray(stored[_LENGTH_BYTES:]).view("<u4").ravel()
        for candidate in (np.flatnonzero(computed == stored) + start).tolist():
            if not _read_header(descriptor, candidate, size).problem:
                return candidate
        start += len(data) - HEADER_BYTES + 1
    return size
