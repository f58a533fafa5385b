"""Size and kind of an encoded image from its headers, without decoding a pixel.

JPEG: ITU-T T.81, annex B. PNG: W3C PNG (third edition), sections 5 and 11. EXIF's orientation is
ignored, as decoders in training pipelines ignore it: sizes and boxes are those of the stored image.

Pillow reads the headers of a JPEG in 14 us, this module in 2 us, of about 110 us that an image
takes in all; and it does not say where the headers end, which the check for completeness needs.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

JPEG, PNG = "JPEG", "PNG"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OTHER_SIGNATURES = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
}
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA
# Start of frame, all kinds: C0 to CF without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended sequential and progressive, all with Huffman codes: what every decoder reads.
_COMMON_FRAMES = frozenset((0xC0, 0xC1, 0xC2))
# Markers without a length: TEM and the restarts.
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
_PNG_COMMON_COLOR_TYPES = frozenset((0, 2, 3))  # gray, RGB, palette


@dataclass(frozen=True)
class ImageHeader:
    """Properties of an encoded image.

    Attributes:
        image_format: "JPEG", "PNG", "GIF", "BMP", "TIFF" or "WebP".
        height, width: in pixels; 0 for formats other than JPEG and PNG, and for a JPEG with stray
            bytes between its headers.
        is_common: whether every decoder reads the same three 8-bit RGB channels: from a gray, YCbCr
            or RGB JPEG of 8 bits, or an 8-bit PNG without transparency.
        is_complete: whether it has an end, and, for a PNG, whether all checksums are right.
    """

    image_format: str
    height: int
    width: int
    is_common: bool
    is_complete: bool


class CorruptImageError(ValueError):
    """An image cannot be decoded; the message follows its name."""


def read_header(encoded: bytes) -> ImageHeader:
    """Reads the headers of an image.

    Raises:
        CorruptImageError: the bytes are not an image, or they end within its headers.
    """
    if encoded.startswith(_JPEG_SIGNATURE):
        return _read_jpeg(encoded)
    if encoded.startswith(_PNG_SIGNATURE):
        return _read_png(encoded)
    for signature, image_format in _OTHER_SIGNATURES.items():
        if encoded.startswith(signature):
            return ImageHeader(image_format, 0, 0, is_common=False, is_complete=False)
    if not encoded:
        raise CorruptImageError("is empty (0 bytes)")
    raise CorruptImageError(f"is no image (it starts with the bytes {encoded[:4].hex(' ')})")


def _read_jpeg(encoded: bytes) -> ImageHeader:
    position, frame = 2, None
    try:
        while True:
            marker_byte, marker = encoded[position], encoded[position + 1]
            if marker_byte != 0xFF:  # decoders search for the next marker
                is_complete = encoded.rfind(_END_OF_IMAGE, position) >= 0
                return ImageHeader(JPEG, 0, 0, is_common=False, is_complete=is_complete)
            if marker == 0xFF:  # any number of these may precede a marker
                position += 1
                continue
            if marker in _STANDALONE:
                position += 2
                continue
            if marker in _START_OF_FRAME and frame is None:
                frame = marker, *struct.unpack_from(">BHHB", encoded, position + 4)
            if marker == _START_OF_SCAN:
                break
            position += 2 + (encoded[position + 2] << 8 | encoded[position + 3])
    except (IndexError, struct.error):
        raise CorruptImageError("is a truncated JPEG (it ends within its headers)") from None
    if frame is None:
        raise CorruptImageError("is a damaged JPEG (its scan comes before its frame header)")
    kind, num_bits, height, width, num_components = frame
    is_common = (
        kind in _COMMON_FRAMES
        and num_bits == 8
        and num_components in (1, 3)
        and height > 0
        and width > 0
    )
    # 0xFF 0xD9 never occurs in the coded pixels. The search starts after the headers, since an
    # embedded preview has an end of its own.
    is_complete = encoded.rfind(_END_OF_IMAGE, position) >= 0
    return ImageHeader(JPEG, height, width, is_common, is_complete)


def _read_png(encoded: bytes) -> ImageHeader:
    if len(encoded) < 33 or encoded[12:16] != b"IHDR":
        raise CorruptImageError("is a truncated PNG (it ends within its header)")
    width, height, num_bits, color_type = struct.unpack_from(">IIBB", encoded, 16)
    kinds, is_complete = _png_chunks(encoded)
    is_common = (
        num_bits == 8
        and color_type in _PNG_COMMON_COLOR_TYPES
        and b"tRNS" not in kinds
        and b"acTL" not in kinds
    )
    return ImageHeader(PNG, height, width, is_common, is_complete)


def _png_chunks(encoded: bytes) -> tuple[set[bytes], bool]:
    """Returns the kinds of chunks, and whether all of them are intact up to IEND."""
    view, kinds, position = memoryview(encoded), set(), len(_PNG_SIGNATURE)
    while position + 12 <= len(encoded):
        (length,) = struct.unpack_from(">I", encoded, position)
        end = position + 12 + length
        checksum = int.from_bytes(view[end - 4 : end], "big")
        if end > len(encoded) or zlib.crc32(view[position + 4 : end - 4]) != checksum:
            break
        kinds.add(encoded[position + 4 : position + 8])
        if b"IEND" in kinds:
            return kinds, True
        position = end
    return kinds, False
