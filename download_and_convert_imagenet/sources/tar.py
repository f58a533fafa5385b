"""Where the members of a tar archive are, from its headers alone.

ImageNet's training archive is a tar of tars with 1.28 million members. Only their headers are read,
512 bytes each, and an inner archive is indexed at its place in the outer one: nothing is unpacked.

The 512-byte header of a tar member: its checksum, its size, its name.

The format is POSIX.1-2001 ustar/pax with GNU's long names and large sizes.

The files in a tar archive, compressed or not, read once from front to back.

tarfile takes a damaged header for the end of an archive and, in a stream, checks no checksum of
gzip's: a part of an archive would look like a whole one.
"""

from __future__ import annotations

import functools
import gzip
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from common.files import naming
from download_and_convert_imagenet.sources.image_source import SourceError

BLOCK_BYTES = 512
REGULAR_FILES = (b"0", b"\0", b"7")
GNU_LONG_NAME, PAX_HEADER = b"L", b"x"
_CHECKSUM_FIELD = slice(148, 156)
_CHECKSUM_SPACES = 8 * ord(" ")
_BASE_256 = 0x80


class TarHeader(NamedTuple):
    """What a header says of the content behind it; `kind` is the type flag, one byte."""

    name: str
    num_bytes: int
    kind: bytes


def parse_header(block: bytes) -> TarHeader:
    """Read a header.

    Raises:
        ValueError: its checksum is wrong, or its size is no number.
    """
    checksum = int(block[_CHECKSUM_FIELD].strip(b" \0") or b"-1", 8)
    if checksum != sum(block) - sum(block[_CHECKSUM_FIELD]) + _CHECKSUM_SPACES:
        raise ValueError("wrong checksum")
    num_bytes = _number(block[124:136])
    if num_bytes < 0:
        raise ValueError("negative size")
    return TarHeader(_name(block), num_bytes, block[156:157])


def parse_text(field: bytes) -> str:
    """Text up to the first zero byte; what is not UTF-8 is kept as surrogates."""
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def parse_pax_records(content: bytes) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" of a pax header; LENGTH counts the whole record.

    Raises:
        ValueError: these are no such records, or "size" is no number of bytes.
    """
    records = {}
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
    return records


def _number(field: bytes) -> int:
    """Octal digits, or GNU's binary number for what eleven digits cannot hold (8 GiB)."""
    if field[0] & _BASE_256:
        return int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    return int(field.strip(b" \0") or b"0", 8)


def _name(block: bytes) -> str:
    prefix = parse_text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    name = parse_text(block[:100])
    return f"{prefix}/{name}" if prefix else name


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


_GZIP_SIGNATURE = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20


def tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every regular file in a .tar or .tar.gz, in the order of the archive.

    What was read is known to be right at the end only, when the checksum of the whole is.

    Raises:
        SourceError: it is no tar archive, it is incomplete or damaged.
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

            for name, offset, num_bytes in members_of(read_at, str(path), end=end):
                content = read_at(num_bytes, offset)
                if len(content) < num_bytes:
                    raise incomplete(str(path), offset + len(content), offset + num_bytes)
                yield name, content
            while file.read(_CHUNK_BYTES):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{path} is incomplete or damaged ({error}): download it again") from None
