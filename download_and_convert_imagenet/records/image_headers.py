"""Size and kind of an encoded image from its headers, without decoding a pixel.

JPEG: ITU-T T.81, annex B. PNG: W3C PNG (third edition), sections 5 and 11. EXIF: CIPA DC-008,
section 4.6. Sizes are those of the stored image, before an orientation turns it.

Pillow reads the headers of a JPEG in 14 us, this module in 2 us, of about 110 us that an image
takes in all; and it does not say where the headers end, which the check for completeness needs.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

JPEG, PNG, HEIC = "JPEG", "PNG", "HEIC"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OTHER_SIGNATURES = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
# The brands of ISO base media files, bytes 8 to 12, behind "ftyp".
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIC
)
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_DEFINE_RESTARTS = 0xDD
# Start of frame, all kinds: C0 to CF without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended sequential and progressive, all with Huffman codes: what every decoder reads.
_COMMON_FRAMES = frozenset((0xC0, 0xC1, 0xC2))
_SEQUENTIAL_FRAMES = frozenset((0xC0, 0xC1))
# Markers without a length: TEM and the restarts.
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
_PNG_COMMON_COLOR_TYPES = frozenset((0, 2, 3))  # gray, RGB, palette
# Chunks in which programs keep EXIF or XMP, and with it an orientation.
_PNG_METADATA = frozenset((b"eXIf", b"iTXt", b"zTXt"))
_APP1 = 0xE1
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_ORIENTATION = 0x0112
_UPRIGHT = 1


class ImageHeader(NamedTuple):
    """Properties of an encoded image.

    Attributes:
        image_format: "JPEG", "PNG", another name, or "" if the first bytes are of no known format.
        height, width: in pixels; 0 for formats other than JPEG and PNG, and for a JPEG with stray
            bytes between its headers.
        is_common: whether every decoder reads the same three 8-bit RGB channels: from a gray, YCbCr
            or RGB JPEG of 8 bits, or an 8-bit PNG without transparency.
        is_complete: whether it has an end, and, for a PNG, whether all checksums are right.
        may_be_turned: whether its metadata may hold an orientation other than upright.
        frame, scan: of a JPEG, the positions of the markers before its sizes and its coded pixels.
        restart_interval: the number of coded units between two markers, 0 for no such markers.
        is_progressive: whether the coded pixels come in several scans.
    """

    image_format: str
    height: int
    width: int
    is_common: bool
    is_complete: bool
    may_be_turned: bool = True
    frame: int = 0
    scan: int = 0
    restart_interval: int = 0
    is_progressive: bool = False


class CorruptImageError(ValueError):
    """An image cannot be decoded; the message follows its name."""


def read_header(encoded: bytes) -> ImageHeader:
    """Reads the headers of an image.

    Raises:
        CorruptImageError: there are none, or they end within the headers.
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
    image_format = _BRANDS.get(encoded[8:12], "") if encoded[4:8] == b"ftyp" else ""
    return ImageHeader(image_format, 0, 0, is_common=False, is_complete=False)


def _read_jpeg(encoded: bytes) -> ImageHeader:
    position, frame, frame_at, is_turned, interval = 2, None, 0, False, 0
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
                frame_at = position
            if marker == _START_OF_SCAN:
                break
            end = position + 2 + (encoded[position + 2] << 8 | encoded[position + 3])
            if marker == _APP1:
                is_turned |= _may_be_turned(encoded[position + 4 : end])
            elif marker == _DEFINE_RESTARTS:
                interval = encoded[position + 4] << 8 | encoded[position + 5]
            position = end
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
    return ImageHeader(
        *(JPEG, height, width, is_common, is_complete, is_turned),
        frame=frame_at,
        scan=position,
        restart_interval=interval,
        is_progressive=kind not in _SEQUENTIAL_FRAMES,
    )


def _may_be_turned(segment: bytes) -> bool:
    """Returns whether a JPEG's segment of metadata has an orientation that is not upright."""
    if segment.startswith(_XMP):
        return b"tiff:Orientation" in segment
    if not segment.startswith(_EXIF):
        return False
    exif = segment[len(_EXIF) :]
    order = ">" if exif[:1] == b"M" else "<"
    try:
        (begin,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, begin)
        for position in range(begin + 2, begin + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, position)
            if tag == _ORIENTATION:
                code = "I" if kind == 4 else "H"
                return struct.unpack_from(order + code, exif, position + 8)[0] != _UPRIGHT
    except struct.error:
        return True  # for Pillow to decide
    return False


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
    is_turned = not kinds.isdisjoint(_PNG_METADATA) or (
        b"tEXt" in kinds and b"Raw profile type" in encoded
    )
    return ImageHeader(PNG, height, width, is_common, is_complete, is_turned)


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
