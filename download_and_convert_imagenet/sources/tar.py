"""Where the files in a tar archive are, from its headers alone, and their contents in a stream.

ImageNet's training archive is a tar of tars with 1.28 million members. Only their headers are read,
512 bytes each, and an inner archive is indexed at its place in the outer one: nothing is unpacked.

The standard library's TarFile takes a damaged header for the end of an archive and, in a stream,
checks no checksum of gzip's: a part of an archive would look like a whole one. Only its parser of a
single header is used here.
"""

from __future__ import annotations

import functools
import gzip
import os
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import naming

_ZERO_BLOCK = bytes(tarfile.BLOCKSIZE)
_FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_GZIP_SIGNATURE = b"\x1f\x8b"
# What a compressed file begins with -> the program that made it, and undoes it with -d.
_COMPRESSORS = {
    _GZIP_SIGNATURE: "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
# Of the name or the pax records of a member. A header that announces more is damaged.
_MAX_EXTENSION_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20

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
    """Yields the regular files of the archive that takes `num_bytes` from `start` of an open file.

    Args:
        descriptor: of the outermost file. Its position does not move, so threads may share it.
        path: for messages.
        num_bytes: up to the end of the file when left out.

    Raises:
        DataError: there is no tar archive there, it is damaged or ends too early.
        OSError: it cannot be read.
    """
    end = os.fstat(descriptor).st_size if num_bytes is None else start + num_bytes
    with naming(path):
        yield from _members(functools.partial(os.pread, descriptor), path, start, end)


def tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of every regular file in a .tar or .tar.gz, in the archive's order.

    Whether all of it was right is known at the end only, when the checksum of the whole is read.

    Raises:
        DataError: it is not a tar archive, or it is incomplete or damaged.
        OSError: it cannot be read.
    """
    with naming(path), path.open("rb") as file:
        is_compressed = file.read(len(_GZIP_SIGNATURE)) == _GZIP_SIGNATURE
    end = sys.maxsize if is_compressed else path.stat().st_size
    try:
        with naming(path), gzip.open(path) if is_compressed else path.open("rb") as file:

            def read_at(num_bytes: int, position: int) -> bytes:
                file.seek(position)
                return file.read(num_bytes)

            for name, offset, num_bytes in _members(read_at, str(path), 0, end):
                content = read_at(num_bytes, offset)
                if len(content) < num_bytes:
                    raise _cut_within_file(str(path), offset + len(content), offset + num_bytes)
                yield name, content
            while file.read(_CHUNK_BYTES):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is incomplete or damaged ({error}): download it again") from None


def _members(read_at: ReadAt, path: str, start: int, end: int) -> Iterator[TarMember]:
    """Yields the regular files of an archive; positions are read in rising order.

    `end` may lie beyond the real end. Contents are not read: their reader finds out whether the
    last one is complete.
    """
    position, long_name, records = start, None, {}
    while True:
        block = b""
        if position + tarfile.BLOCKSIZE <= end:
            block = read_at(tarfile.BLOCKSIZE, position)
        if block == _ZERO_BLOCK:
            return
        if len(block) < tarfile.BLOCKSIZE:
            raise _no_end(path, start, position)
        header = _parse_header(block, path, position)
        content, size = position + tarfile.BLOCKSIZE, int(records.get("size", header.size))
        if content + size > end:
            raise _cut_within_file(path, end, content + size)
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
            if size > _MAX_EXTENSION_BYTES:
                raise _damaged(path, position)
            extension = read_at(size, content)
            if header.type == tarfile.XHDTYPE:
                records = _parse_pax_records(extension, path, position)
            else:
                long_name = extension.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        else:
            if header.type in _FILE_TYPES:
                yield TarMember(records.get("path") or long_name or header.name, content, size)
            long_name, records = None, {}
        position = content + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _parse_header(block: bytes, path: str, position: int) -> tarfile.TarInfo:
    """Parses the header of a member; DataError for a wrong checksum or size."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        header = None
    if header is not None and header.size >= 0:
        return header
    if position:
        raise _damaged(path, position)
    for signature, program in _COMPRESSORS.items():
        if block.startswith(signature):
            raise DataError(f"{path} is compressed: decompress it first ({program} -d {path})")
    raise DataError(
        f"{path} is not a tar archive: it does not start with the header of a file; download it "
        "again"
    )


def _parse_pax_records(content: bytes, path: str, position: int) -> dict[str, str]:
    r"""Parses the records "LENGTH KEY=VALUE\n" of a pax header; LENGTH counts the whole record."""
    records = {}
    try:
        while content:
            digits = content.partition(b" ")[0]
            length = int(digits)
            if not len(digits) + 2 < length <= len(content):
                raise ValueError(f"a record of {length} bytes")
            key, _, value = content[len(digits) + 1 : length - 1].partition(b"=")
            records[key.decode()] = value.decode("utf-8", "surrogateescape")
            content = content[length:]
        if int(records.get("size", 0)) < 0:
            raise ValueError("negative size")
    except ValueError:
        raise _damaged(path, position) from None
    return records


def _damaged(path: str, position: int) -> DataError:
    return DataError(
        f"{path} is damaged at byte {position:,}: no header of a file is there; download it again"
    )


def _cut_within_file(path: str, end: int, needed: int) -> DataError:
    return DataError(
        f"{path} is incomplete: it ends at byte {end:,}, within a file that extends to byte "
        f"{needed:,}; download it again, or resume the download"
    )


def _no_end(path: str, start: int, position: int) -> DataError:
    """An archive ends with a block of zeros: without one, it was cut between two files."""
    if position == start:
        return DataError(f"{path} is empty at byte {start:,}, where a tar archive should be")
    return DataError(
        f"{path} is incomplete: it ends at byte {position:,} without the zeros that end a tar "
        "archive; download it again, or resume the download"
    )
