"""Recognizes files that are no TFRecords, under whatever name: compressed, archives, web pages."""

from __future__ import annotations

import zlib
from pathlib import Path

from preprocessing.records.tfrecord import HEADER_BYTES, is_record_header

_NUM_BYTES = 512  # as many as tell a tar archive
_TAR_MAGIC_AT = 257

_DECOMPRESS = "decompress it, or write it without compression"
_UNPACK = "unpack it, and convert images with download_and_convert_imagenet"
_DOWNLOAD = "download it again"
_CONVERT = "convert the images with download_and_convert_imagenet"

# The first bytes of a file -> what it is, what to do.
_FORMATS = {
    b"\x1f\x8b": ("is compressed (gzip)", _DECOMPRESS),
    b"BZh": ("is compressed (bzip2)", _DECOMPRESS),
    b"\xfd7zXZ\0": ("is compressed (xz)", _DECOMPRESS),
    b"\x28\xb5\x2f\xfd": ("is compressed (zstd)", _DECOMPRESS),
    b"PK\x03\x04": ("is a zip archive", _UNPACK),
    b"Rar!": ("is a RAR archive", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("is a 7z archive", _UNPACK),
    b"version https://git-lfs": (
        "is a pointer of Git LFS, not the file itself",
        "get the file with git lfs pull",
    ),
    b"/annex/objects": (
        "is a pointer of git-annex, not the file itself",
        "get the file with git annex get",
    ),
    b"\x00\x05\x16\x07": (
        "is a file of macOS with attributes of another one, not the file itself",
        "copy the shard again",
    ),
    b"\x89HDF": ("is an HDF5 file", _CONVERT),
    b"PAR1": ("is a Parquet file", _CONVERT),
    b"\x93NUMPY": ("is a NumPy array", _CONVERT),
    b"\xff\xd8\xff": ("is a JPEG image", _CONVERT),
    b"\x89PNG": ("is a PNG image", _CONVERT),
}
_PAGES = {b"<!doctype html": "HTML", b"<html": "HTML", b"<?xml": "XML", b"{": "JSON"}


def foreign_file(path: Path) -> str:
    """Returns what a file is that does not begin with a TFRecord, and what to do; "" if unknown."""
    try:
        with path.open("rb") as file:
            first = file.read(_NUM_BYTES)
    except OSError:
        return ""
    if is_record_header(first[:HEADER_BYTES]):
        return ""  # the length of a record may be any bytes
    found = next((facts for magic, facts in _FORMATS.items() if first.startswith(magic)), None)
    if found is None:
        found = _by_content(first)
    return f"{path} {found[0]}, not TFRecords: {found[1]}" if found else ""


def _by_content(first: bytes) -> tuple[str, str] | None:
    if first[_TAR_MAGIC_AT:].startswith(b"ustar"):
        return "is a tar archive", _UNPACK
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, name in _PAGES.items():
        if text.startswith(start):
            return f"is {name} text, as servers send for an error or a log-in", _DOWNLOAD
    if len(first) == _NUM_BYTES and not any(first):
        return "begins with zeros, as an interrupted download or copy does", _DOWNLOAD
    if _is_zlib(first):
        return "is compressed (zlib)", _DECOMPRESS
    return None


def _is_zlib(first: bytes) -> bool:
    """Returns whether bytes can be decompressed: two of them alone would match by chance."""
    try:
        return bool(zlib.decompressobj().decompress(first))
    except zlib.error:
        return False
