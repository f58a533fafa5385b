"""Where the members of an uncompressed tar archive are, from its headers alone.

ImageNet's training archive is a tar of tars with 1.28 million members. Only their headers are read,
512 bytes each, and an inner archive is indexed at its place in the outer one: nothing is unpacked.
The format is POSIX.1-2001 ustar/pax with GNU's long names and large sizes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from download_and_convert_imagenet.image_source import SourceError

_BLOCK_BYTES = 512
_REGULAR = (b"0", b"\0", b"7")
_GNU_LONG_NAME, _PAX_HEADER = b"L", b"x"
_CHECKSUM_FIELD = slice(148, 156)
_CHECKSUM_SPACES = 8 * ord(" ")
_BASE_256 = 0x80
_ZERO_BLOCK = bytes(_BLOCK_BYTES)


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
        SourceError: there is no tar archive there, or it ends too early.
    """
    end = os.fstat(descriptor).st_size if num_bytes is None else start + num_bytes
    position, long_name, extended = start, None, {}
    while position < end:
        header = os.pread(descriptor, _BLOCK_BYTES, position)
        if header == _ZERO_BLOCK:
            return
        content, size, kind = position + _BLOCK_BYTES, *_size_and_kind(header, path, position)
        size = int(extended.get("size", size))
        if content + size > end:
            raise SourceError(
                f"{path} is incomplete: it ends at byte {end:,}, within a file that goes on to "
                f"{content + size:,}; download it again, or go on with the download"
            )
        if kind == _GNU_LONG_NAME:
            long_name = _text(os.pread(descriptor, size, content))
        elif kind == _PAX_HEADER:
            extended = _pax_records(os.pread(descriptor, size, content))
        else:
            if kind in _REGULAR:
                name = extended.get("path") or long_name or _name(header)
                yield TarMember(name, content, size)
            long_name, extended = None, {}
        position = content + -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
    if start == position:
        raise SourceError(f"{path} is empty at byte {start:,}, where a tar archive should be")


def _size_and_kind(header: bytes, path: str, position: int) -> tuple[int, bytes]:
    """The size and the type of a member, after a check that this is a header."""
    try:
        checksum = int(header[_CHECKSUM_FIELD].strip(b" \0") or b"-1", 8)
        size = _number(header[124:136])
    except ValueError:
        checksum = size = -1
    if checksum != sum(header) - sum(header[_CHECKSUM_FIELD]) + _CHECKSUM_SPACES or size < 0:
        what = "is no tar archive" if position == 0 else f"is damaged at byte {position:,}"
        raise SourceError(f"{path} {what}: no header of a file is there; download it again")
    return size, header[156:157]


def _number(field: bytes) -> int:
    """Octal digits, or GNU's binary number for what eleven digits cannot hold (8 GiB)."""
    if field[0] & _BASE_256:
        return int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    return int(field.strip(b" \0") or b"0", 8)


def _name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{_text(header[:100])}" if prefix else _text(header[:100])


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax_records(content: bytes) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" of a pax header; LENGTH counts the whole record."""
    records = {}
    while content:
        length, _, _ = content.partition(b" ")
        record = content[len(length) + 1 : int(length) - 1]
        key, _, value = record.partition(b"=")
        records[key.decode()] = value.decode("utf-8", "surrogateescape")
        content = content[int(length) :]
    return records
