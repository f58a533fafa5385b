"""Prepares the image of a record: unchanged if every decoder reads it alike, else re-encoded.

ImageNet's training set has a PNG under a JPEG's name and 22 JPEGs in CMYK. These, and the oddities
of other collections, are found by their content; no list of names is needed.
"""

from __future__ import annotations

import io
from typing import NamedTuple

from download_and_convert_imagenet.records import jpeg_scan
from download_and_convert_imagenet.records.image_headers import (
    HEIC,
    JPEG,
    PNG,
    CorruptImageError,
    ImageHeader,
    read_header,
)
from download_and_convert_imagenet.records.pixels import (
    LARGE_SIDE,
    MAX_DECODED_PIXELS,
    Decoded,
    decode,
    is_turned,
)

JPEG_QUALITY = 100
# libjpeg's JPEG_MAX_DIMENSION; the format itself ends at 65,535.
MAX_JPEG_SIDE = 65_500
# The others store pixels without loss, and become PNG where that is kept.
_LOSSY_FORMATS = frozenset((JPEG, "WebP", "AVIF", HEIC, "JPEG 2000"))
_KINDS_OF_PIXELS = {"CMYK": "CMYK", "RGBA": "transparent", "LA": "transparent", "PA": "transparent"}


class PreparedImage(NamedTuple):
    """An encoded image of three 8-bit channels, or of one gray channel that decodes to three.

    Attributes:
        image_format: "JPEG" or "PNG".
        repair: what it was before it was re-encoded, such as "CMYK JPEG"; None for most images,
            whose bytes are unchanged.
    """

    encoded: bytes
    height: int
    width: int
    image_format: str
    repair: str | None = None


def prepare_image(
    encoded: bytes, *, keep_png: bool = False, upright: bool = False
) -> PreparedImage:
    """Checks an image by its headers, and re-encodes it if decoders do not all read it alike.

    Args:
        keep_png: keeps 8-bit PNG images and converts other lossless ones to PNG, instead of
            converting all of them to JPEG.
        upright: turns images by their orientation, as cameras store it, averages large ones down,
            and refuses JPEGs that look as if parts of their pixels were lost.

    Raises:
        CorruptImageError: it is not an image, it is incomplete, or it is too large.
        MemoryError: there is not enough memory to decode it.
    """
    header = read_header(encoded)
    if upright and _has_holes(encoded, header):
        raise CorruptImageError("is a damaged JPEG (a part of its pixels is missing)")
    is_kept_format = header.image_format == JPEG or (header.image_format == PNG and keep_png)
    if (
        is_kept_format
        and header.is_common
        and header.is_complete
        and header.height * header.width <= MAX_DECODED_PIXELS
        and not (upright and _is_large_or_turned(encoded, header))
    ):
        return PreparedImage(encoded, header.height, header.width, header.image_format)
    target = JPEG if header.image_format in _LOSSY_FORMATS or not keep_png else PNG
    return _reencode(encoded, header, target, upright)


def _has_holes(encoded: bytes, header: ImageHeader) -> bool:
    is_whole_jpeg = header.is_complete and header.is_common and header.image_format == JPEG
    return (
        is_whole_jpeg and jpeg_scan.may_have_holes(encoded, header) and jpeg_scan.has_holes(encoded)
    )


def _is_large_or_turned(encoded: bytes, header: ImageHeader) -> bool:
    if min(header.height, header.width) >= 2 * LARGE_SIDE:
        return True
    return header.may_be_turned and is_turned(encoded, header.image_format)


def _reencode(encoded: bytes, header: ImageHeader, target: str, upright: bool) -> PreparedImage:
    max_side = MAX_JPEG_SIDE if target == JPEG else None
    try:
        decoded = decode(encoded, header.image_format, upright=upright, max_side=max_side)
        options = {"quality": JPEG_QUALITY, "subsampling": 0} if target == JPEG else {}
        buffer = io.BytesIO()
        decoded.rgb.save(buffer, target, **options)
    except (CorruptImageError, MemoryError):  # with more memory, the image may be fine
        raise
    except Exception as error:  # Pillow's decoders raise errors of many types
        if header.image_format in (JPEG, PNG) and not header.is_complete:
            raise CorruptImageError(f"is a truncated {header.image_format}") from error
        reason = str(error) or type(error).__name__
        name = header.image_format or "image"
        raise CorruptImageError(f"is a damaged {name} ({reason})") from error
    width, height = decoded.rgb.size
    repair = _describe(decoded, header.image_format or "image")
    return PreparedImage(buffer.getvalue(), height, width, target, repair)


def _describe(decoded: Decoded, image_format: str) -> str:
    """Returns what an image was before it was re-encoded, such as "turned CMYK JPEG"."""
    kind = _KINDS_OF_PIXELS.get(decoded.mode, "")
    words = " ".join(filter(None, ["turned" if decoded.is_turned else "", kind, image_format]))
    if sorted(decoded.size) == sorted(decoded.rgb.size):
        return words
    (width, height), (new_width, new_height) = decoded.size, decoded.rgb.size
    return f"{words} shrunk from {width:,}x{height:,} to {new_width:,}x{new_height:,} pixels,"
