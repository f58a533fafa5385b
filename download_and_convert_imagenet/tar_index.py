"""Where the members of a tar archive are, from its headers alone.

ImageNet's training archive is a tar of tars with 1.28 million members. Only their headers are read,
512 bytes each, and an inner archive is indexed at its place in the outer one: nothing is unpacked.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from download_and_convert_imagenet.file_errors import naming
from download_and_convert_imagenet.image_source import SourceError
from download_and_convert_imagenet.tar_headers import (
    BLOCK_BYTES,
    GNU_LONG_NAME,
    PAX_HEADER,
    REGULAR_FILES,
    TarHeader,
    parse_header,
    parse_pax_records,
    parse_text,
)

_ZERO_BLOCK = bytes(BLOCK_BYTES)
# What a compressed file begins with -> the program that made it, and undoes it with -d.
_COMPRESSORS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
# Names and pax records of a member; what says to be longer is damaged, and is not read.
_MAX_EXTENSION_BYTES = 1 << 20

ReadAt = Callable[[int, int], bytes]
"""Called with a number of bytes and a position; returns fewer at the end of the file only."""


class TarMember(NamedTuple):
    """A regular file inside an archive; `offset` counts from the start of the outermost file."""

    name: str
    offset: int
    num_bytes: int


def tar_members(
    descriptor: int, path: str, start: int = 0, num_bytes: int | None = None
) -> Iterator[TarMember]:
    """The regular files of the archive that takes `num_bytes` from `start` of an open file.

    Args:
        descriptor: of the outermost file; it is not moved, so threads may share it.
        path: for messages.
        num_bytes: up to the end of the file when left out.

    Raises:
        SourceError: there is no tar archive there, it is damaged or ends too early.
        OSError: it cannot be read.
    """
    end = os.fstat(descriptor).st_size if num_bytes is None else start + num_bytes
    with naming(path):
        yield from members_of(functools.partial(os.pread, descriptor), path, start, end)


def members_of(
    read_at: ReadAt, path: str, start: int = 0, end: int = sys.maxsize
) -> Iterator[TarMember]:
    """The same of anything that can be read from front to back.

    Positions are asked for in rising order. An end that is not known beforehand is where `read_at`
    gives less than it is asked for; contents are not read, so that whoever reads one finds out
    whether it is all there.

    Raises:
        SourceError: as above.
    """
    position, long_name, extended = start, None, {}
    while True:
        block = read_at(BLOCK_BYTES, position) if position + BLOCK_BYTES <= end else b""
        if block == _ZERO_BLOCK:
            return
        if len(block) < BLOCK_BYTES:
            _refuse_end(path, start, position)
        header = _header(block, path, position)
        content, size = position + BLOCK_BYTES, int(extended.get("size", header.num_bytes))
        if content + size > end:
            raise incomplete(path, end, content + size)
        if header.kind in (GNU_LONG_NAME, PAX_HEADER):
            if size > _MAX_EXTENSION_BYTES:
                raise _damaged(path, position)
            extension = read_at(size, content)
            if header.kind == GNU_LONG_NAME:
                long_name = parse_text(extension)
            else:
                extended = _pax_records(extension, path, position)
        else:
            if header.kind in REGULAR_FILES:
                name = extended.get("path") or long_name or header.name
                yield TarMember(name, content, size)
            long_name, extended = None, {}
        position = content + -(-size // BLOCK_BYTES) * BLOCK_BYTES


def incomplete(path: str, end: int, needed: int) -> SourceError:
    """The error of an archive that ends at `end`, within a file that ends at `needed`."""
    return SourceError(
        f"{path} is incomplete: it ends at byte {end:,}, within a file that goes on to "
        f"{needed:,}; download it again, or go on with the download"
    )


def _refuse_end(path: str, start: int, position: int) -> None:
    """An archive ends with a block of zeros: without one, it was cut between two files."""
    if position == start:
        raise SourceError(f"{path} is empty at byte {start:,}, where a tar archive should be")
    raise SourceError(
        f"{path} is incomplete: it ends at byte {position:,} without the zeros that end a tar "
        "archive; download it again, or go on with the download"
    )


def _header(block: bytes, path: str, position: int) -> TarHeader:
    try:
        return parse_header(block)
    except ValueError:
        if position == 0:
            raise _no_archive(block, path) from None
        raise _damaged(path, position) from None


def _no_archive(block: bytes, path: str) -> SourceError:
    for signature, program in _COMPRESSORS.items():
        if block.startswith(signature):
            return SourceError(f"{path} is compressed: decompress it first ({program} -d {path})")
    return SourceError(f"{path} is no tar archive: no header of a file is there; download it again")


def _pax_records(extension: bytes, path: str, position: int) -> dict[str, str]:
    try:
        return parse_pax_records(extension)
    except ValueError:
        raise _damaged(path, position) from None


def _damaged(path: str, position: int) -> SourceError:
    return SourceError(
        f"{path} is damaged at byte {position:,}: no header of a file is there; download it again"
    )
