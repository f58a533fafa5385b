"""Finds JPEGs with holes: coded pixels that are lost, which decoders fill with gray or with noise.

A decoder takes such a file for whole if it has an end. Nothing in a JPEG says how many bytes its
pixels take; but a decoder that has read all of them skips what follows up to the next marker, and a
decoder that lacks some takes it for pixels. So bytes are added before every marker: if they change
the decoded image, pixels are missing there.

A lost block of a disk is read as zeros. Most tables of codes take these for steep waves, which no
picture has; where zeros may be a flat surface, the pixels may come out too many, and then the last
bytes before the marker change nothing.

What this cannot see: changed bytes after which the number of pixels is still right, and pieces that
are missing between two scans of a progressive JPEG.
"""

from __future__ import annotations

import io
import math
import re
import threading
from collections.abc import Iterator

import numpy as np
from PIL import Image

from download_and_convert_imagenet.records.image_headers import JPEG, ImageHeader, read_header

# Without 0xFF, and of no pattern that a code could take for nothing.
_ADDED = np.random.default_rng(0).integers(0, 255, 64, np.uint8).tobytes()
_LOST_BLOCK = bytes(512)
_ZEROS = bytes(64)
# What is left of a lost block if only every so many bytes are looked at.
_STRIDE, _FEW_ZEROS = 128, bytes(3)
_NUM_CUT = 64
_GRAY = 128  # of pixels that are not there
_END_OF_IMAGE, _START_OF_SCAN, _FIRST_RESTART, _DEFINE_CODES = 0xD9, 0xDA, 0xD0, 0xC4
_END_OF_BLOCK = 0
_NUM_RESTART_CODES = 8
# What may stand between two scans: tables (DHT, DAC, DQT, DRI), the number of lines, comments.
_BETWEEN_SCANS = frozenset((0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
# 0xFF 0x00 is a coded 0xFF, and 0xFF may precede any marker.
_MARKER = re.compile(rb"\xff+([\x01-\xfe])")


class _Scratch(threading.local):
    """Memory that is used again: fresh memory would take as long as the rest."""

    def __init__(self) -> None:
        self.flags = bytearray()


_scratch = _Scratch()


def may_have_holes(encoded: bytes, header: ImageHeader) -> bool:
    """Returns whether a JPEG with an end looks odd: markers among its coded pixels, or many zeros.

    This takes 8 us, decoding the image 1 ms. A hole that leaves no such traces is not seen.
    """
    if not _has_only_an_end(encoded, header) and not _has_sound_markers(encoded, header):
        return True
    return _FEW_ZEROS in encoded[header.scan :: _STRIDE] and encoded.find(_ZEROS, header.scan) >= 0


def has_holes(encoded: bytes) -> bool:
    """Returns whether a JPEG with an end lacks some of its pixels, or cannot be decoded whole."""
    header = read_header(encoded)
    if header.image_format != JPEG or not header.scan:
        return False
    if not _has_sound_markers(encoded, header) or _has_lost_block(encoded, header):
        return True
    try:
        pixels = _decode(encoded, header)
        if pixels != _decode(_with_added_bytes(encoded, header), header):
            return True
        is_gray = set(pixels[-3:]) == {_GRAY}  # as it would be without the last bytes
        return not is_gray and any(
            pixels == _decode(cut, header) for cut in _without_last_bytes(encoded, header)
        )
    except MemoryError:
        raise
    except Exception:  # Pillow's decoders raise errors of many types
        return True


def _has_only_an_end(encoded: bytes, header: ImageHeader) -> bool:
    """Returns whether the first marker after the headers is the end, and no other is needed.

    A marker is an 0xFF that is not followed by 0. Three passes at the speed of memory find it; a
    regular expression takes seven times as long, as every 200th byte of coded pixels is 0xFF.
    """
    if header.restart_interval or header.is_progressive:
        return False
    begin = _next_segment(encoded, header.scan)
    num_pairs = len(encoded) - begin - 1
    if num_pairs <= 0:
        return False
    scratch = _scratch.flags
    if len(scratch) < num_pairs:
        scratch = _scratch.flags = bytearray(2 * num_pairs)
    data = np.frombuffer(encoded, np.uint8)
    flags = np.frombuffer(scratch, np.uint8, num_pairs)
    np.equal(data[begin:-1], 0xFF, out=flags.view(bool))
    np.minimum(flags, data[begin + 1 :], out=flags)
    found = scratch.find(1, 0, num_pairs)
    return found >= 0 and encoded[begin + found + 1] == _END_OF_IMAGE


def _has_sound_markers(encoded: bytes, header: ImageHeader) -> bool:
    """Returns whether the markers after the headers are of known kinds, in order and complete."""
    num_restarts = num_scans = 0
    code = 0
    for _, code in _ends(encoded, header.scan):
        restart = code - _FIRST_RESTART
        if not 0 <= restart < _NUM_RESTART_CODES:
            num_scans += 1
        elif restart == num_restarts % _NUM_RESTART_CODES and not num_scans:
            num_restarts += 1
        elif not header.is_progressive:
            return False
    if code != _END_OF_IMAGE:
        return False
    if not header.restart_interval or num_scans > 1:
        return True
    return num_restarts == math.ceil(_num_units(encoded, header) / header.restart_interval) - 1


def _has_lost_block(encoded: bytes, header: ImageHeader) -> bool:
    """Returns whether there are many zeros that the codes cannot mean as a flat surface."""
    begin, is_found = header.scan, False
    for end, _ in _ends(encoded, header.scan):
        is_found |= encoded.find(_LOST_BLOCK, begin, end) >= 0
        begin = end
    return is_found and not header.is_progressive and _zeros_are_waves(encoded, header.scan)


def _zeros_are_waves(encoded: bytes, scan: int) -> bool:
    """Returns whether a table codes something else than the end of a block by zeros alone.

    That is its first symbol, by the order in which codes are given out (T.81, annex C).
    """
    position = 2
    while (match := _MARKER.match(encoded, position)) and match.end() < scan:
        position = match.end() - 2
        end = _next_segment(encoded, position)
        table = position + 4
        while match[1][0] == _DEFINE_CODES and table < end:
            is_for_waves, num_symbols = encoded[table] >> 4, sum(encoded[table + 1 : table + 17])
            if is_for_waves and encoded[table + 17] != _END_OF_BLOCK:
                return True
            table += 17 + num_symbols
        position = end
    return False


def _ends(encoded: bytes, scan: int) -> Iterator[tuple[int, int]]:
    """Yields where coded pixels end, and the code of the marker there; the last is the image's end.

    It stops earlier at a marker that may not follow coded pixels.
    """
    position = scan
    while True:
        position = _next_segment(encoded, position)
        while match := _MARKER.search(encoded, position):
            code = match[1][0]
            yield match.start(), code
            position = match.end() - 2
            if not _FIRST_RESTART <= code < _FIRST_RESTART + _NUM_RESTART_CODES:
                break
            position = match.end()
        else:
            return
        while encoded[position + 1 : position + 2] != bytes([_START_OF_SCAN]):
            if encoded[position + 1] not in _BETWEEN_SCANS:
                return
            position = _next_segment(encoded, position)
            if (match := _MARKER.match(encoded, position)) is None:
                return
            position = match.end() - 2


def _next_segment(encoded: bytes, position: int) -> int:
    return position + 2 + int.from_bytes(encoded[position + 2 : position + 4], "big")


def _num_units(encoded: bytes, header: ImageHeader) -> int:
    """Returns the number of coded units (T.81: MCUs) of an image with one scan."""
    num_components = encoded[header.frame + 9]
    factors = encoded[header.frame + 11 : header.frame + 10 + 3 * num_components : 3]
    across, down = max(f >> 4 for f in factors), max(f & 15 for f in factors)
    if num_components == 1:
        across = down = 1
    return math.ceil(header.width / 8 / across) * math.ceil(header.height / 8 / down)


def _with_added_bytes(encoded: bytes, header: ImageHeader) -> bytes:
    pieces, begin = [], 0
    for end, _ in _ends(encoded, header.scan):
        pieces += [encoded[begin:end], _ADDED]
        begin = end
    return b"".join([*pieces, encoded[begin:]])


def _without_last_bytes(encoded: bytes, header: ImageHeader) -> Iterator[bytes]:
    """Yields the image with the end of one stretch of coded pixels cut off, if that has zeros."""
    begin = header.scan
    for end, _ in _ends(encoded, header.scan):
        if encoded.find(_ZEROS, begin, end - _NUM_CUT) >= 0:
            yield encoded[: end - _NUM_CUT] + encoded[end:]
        begin = end


def _decode(encoded: bytes, header: ImageHeader) -> bytes:
    with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
        if not header.is_progressive:
            image.draft(image.mode, (1, 1))  # an eighth of the size, from the same coded pixels
        return image.tobytes()
