"""Prepares the image of a record: unchanged if every decoder reads it alike, else re-encoded.

ImageNet's training set has a PNG under a JPEG's name and 22 JPEGs in CMYK. These, and the oddities
of other collections, are found by their content; no list of names is needed.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL import Image

from download_and_convert_imagenet.records.image_headers import (
    JPEG,
    PNG,
    CorruptImageError,
    ImageHeader,
    read_header,
)

JPEG_QUALITY = 100
# Beyond this, decoding needs gigabytes: 1 billion pixels, three bytes each.
MAX_PIXELS = 1_000_000_000
_TOO_MANY_PIXELS = f"has more than {MAX_PIXELS:,} pixels"
# libjpeg's JPEG_MAX_DIMENSION; the format itself ends at 65,535.
MAX_JPEG_SIDE = 65_500
_WHITE = (255, 255, 255)
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_SIXTEEN_TO_EIGHT_BITS = 1 / 257  # 65535 -> 255
_KINDS_OF_PIXELS = {"CMYK": "CMYK", "RGBA": "transparent", "LA": "transparent", "PA": "transparent"}


@dataclass(frozen=True)
class PreparedImage:
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


def prepare_image(encoded: bytes, *, keep_png: bool = False) -> PreparedImage:
    """Checks an image by its headers, and re-encodes it if decoders do not all read it alike.

    Args:
        keep_png: keeps 8-bit PNG images and converts other lossless ones to PNG, instead of
            converting all of them to JPEG.

    Raises:
        CorruptImageError: it is not an image, it is incomplete, or it is too large.
        MemoryError: there is not enough memory to decode it.
    """
    header = read_header(encoded)
    is_kept_format = header.image_format == JPEG or (header.image_format == PNG and keep_png)
    if header.is_common and header.is_complete and is_kept_format:
        return PreparedImage(encoded, header.height, header.width, header.image_format)
    target = JPEG if header.image_format in (JPEG, "WebP") or not keep_png else PNG
    return _reencode(encoded, header, target)


def _reencode(encoded: bytes, header: ImageHeader, target: str) -> PreparedImage:
    try:
        mode, pixels = _decode(encoded, target)
        options = {"quality": JPEG_QUALITY, "subsampling": 0} if target == JPEG else {}
        buffer = io.BytesIO()
        pixels.save(buffer, target, **options)
    except (CorruptImageError, MemoryError):  # with more memory, the image may be fine
        raise
    except Image.DecompressionBombError as error:
        raise CorruptImageError(_TOO_MANY_PIXELS) from error
    except Exception as error:  # Pillow's decoders raise errors of many types
        if header.image_format in (JPEG, PNG) and not header.is_complete:
            raise CorruptImageError(f"is a truncated {header.image_format}") from error
        reason = str(error) or type(error).__name__
        raise CorruptImageError(f"is a damaged {header.image_format} ({reason})") from error
    repair = f"{_KINDS_OF_PIXELS.get(mode, '')} {header.image_format}".strip()
    return PreparedImage(buffer.getvalue(), pixels.height, pixels.width, target, repair)


def _decode(encoded: bytes, target: str) -> tuple[str, Image.Image]:
    """Returns Pillow's mode of the image, and its pixels in RGB."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow refuses 179 million as a likely attack
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata
        with Image.open(io.BytesIO(encoded)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise CorruptImageError(_TOO_MANY_PIXELS)
            if target == JPEG and max(image.size) > MAX_JPEG_SIDE:
                raise CorruptImageError(
                    f"is too large for a JPEG ({image.width:,}x{image.height:,} pixels; the "
                    f"limit is {MAX_JPEG_SIDE:,} per side)"
                )
            image.load()
            return image.mode, _rgb(image)


def _rgb(image: Image.Image) -> Image.Image:
    """Returns the pixels in RGB: 16-bit gray scaled to 8 bits, transparent parts on white."""
    if image.mode in _SIXTEEN_BIT_MODES:
        image = image.convert("I").point(lambda value: value * _SIXTEEN_TO_EIGHT_BITS).convert("L")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        canvas = Image.new("RGB", layers.size, _WHITE)
        canvas.paste(layers, mask=layers.getchannel("A"))
        return canvas
    return image.convert("RGB")
