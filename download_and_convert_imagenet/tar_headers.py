"""The 512-byte header of a tar member: its checksum, its size, its name.

The format is POSIX.1-2001 ustar/pax with GNU's long names and large sizes.
"""

from __future__ import annotations

from typing import NamedTuple

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
