"""The layout of TFRecord files: where records start, which are damaged, where the next one is.

TensorFlow's reader checks every record, but it names neither the file nor the record that is
damaged, and stops there. This reader names both and continues; it is used for damaged files.
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
LENGTH_DIFFERS = "the checksum of its length differs"
_SEARCH_BYTES = 1 << 20


@dataclass(frozen=True)
class RecordSpan:
    """The place of a record. `problem` says why it cannot be read; its data is not checked."""

    offset: int
    num_bytes: int
    problem: str = ""


def walk_records(path: Path) -> Iterator[RecordSpan]:
    """Yields every record of a file by its header, without reading the data.

    If a header is damaged or the file is truncated, one span with a problem covers everything up to
    the next valid header, however many records that were.

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
    """Returns the record that starts at `offset`, with header and data checked.

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


def is_record_header(header: bytes) -> bool:
    """Returns whether 12 bytes are the length of a record and the checksum of that length."""
    if len(header) < HEADER_BYTES:
        return False
    (stored,) = struct.unpack("<I", header[_LENGTH_BYTES:])
    return stored == masked_crc32c(header[:_LENGTH_BYTES])


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Opens a file and yields its descriptor; an OSError inside becomes a DataError."""
    try:
        with path.open("rb", buffering=0) as file:
            yield file.fileno()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _read_header(descriptor: int, offset: int, size: int) -> RecordSpan:
    header = os.pread(descriptor, HEADER_BYTES, offset)
    if len(header) < HEADER_BYTES:
        return RecordSpan(offset, size - offset, "the file ends inside it")
    if not is_record_header(header):
        return RecordSpan(offset, size - offset, LENGTH_DIFFERS)
    (length,) = struct.unpack("<Q", header[:_LENGTH_BYTES])
    if offset + FRAME_BYTES + length > size:
        return RecordSpan(offset, size - offset, "the file ends inside it")
    return RecordSpan(offset, FRAME_BYTES + length)


def _next_header(descriptor: int, start: int, size: int) -> int:
    """Returns the first offset from `start` up where a whole record may begin, else `size`."""
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
