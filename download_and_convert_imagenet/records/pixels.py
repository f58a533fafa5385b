"""The pixels of an image file: the one definition, stated in docs/data.md under "Pixels".

TensorFlow's decoder gives these pixels for the common JPEGs and PNGs, which keep their bytes. All
others are decoded here, with Pillow, and encoded anew; so every later reader is TensorFlow's.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from download_and_convert_imagenet.records.image_headers import HEIC, CorruptImageError

# Beyond this, decoding needs gigabytes: 1 billion pixels, three bytes each.
MAX_PIXELS = 1_000_000_000
# TensorFlow decodes less than 2^29 bytes, three a pixel. Larger images are averaged down.
MAX_DECODED_PIXELS = (2**29 - 1) // 3
# Bilinear resizing uses neighboring pixels only, so photos are averaged down where their shorter
# side is then still one to two times this.
LARGE_SIDE = 1024
_WHITE = (255, 255, 255)
_ORIENTATION, _UPRIGHT = 0x0112, 1
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Of LAB, Pillow 13 makes other pixels at every call, without an error.
_MODES = frozenset(
    (
        *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"),
        *("F", "I", "I;16", "I;16B", "I;16L", "I;16N"),
    )
)
# Formats that describe a picture instead of storing pixels, and run other programs to draw it.
_DRAWINGS = frozenset(("EPS", "WMF", "EMF"))


class Decoded(NamedTuple):
    """An image in RGB, and what it was: Pillow's mode, its size as stored, if it was turned."""

    rgb: Image.Image
    mode: str
    size: tuple[int, int]
    is_turned: bool


def decode(encoded: bytes, image_format: str, *, upright: bool, max_side: int | None) -> Decoded:
    """Decodes an image of any format.

    Args:
        image_format: that of `ImageHeader`, "" if unknown.
        upright: turns the image by its orientation, and averages large ones down to LARGE_SIDE.
        max_side: in pixels, None for any.

    Raises:
        CorruptImageError: it cannot be read, or is too large.
        Exception: Pillow's decoders raise errors of many types.
    """
    with _opened(encoded, image_format) as image:
        width, height = size = image.size
        if width * height > MAX_PIXELS:
            raise CorruptImageError(
                f"is too large ({width:,}x{height:,} pixels; the limit is {MAX_PIXELS:,})"
            )
        if max_side is not None and max(size) > max_side:
            raise CorruptImageError(
                f"is too large for a JPEG ({width:,}x{height:,} pixels; the limit is "
                f"{max_side:,} per side)"
            )
        if upright and image.format in ("JPEG", "MPO") and min(size) >= 2 * LARGE_SIDE:
            image.draft("RGB", (LARGE_SIDE, LARGE_SIDE))  # decodes fewer pixels
        image.load()
        turn = _TURNS.get(_orientation(image) or _UPRIGHT) if upright else None
        mode, is_gray_ppm = image.mode, image.format == "PPM"
        rgb = _rgb(image if turn is None else image.transpose(turn), is_gray_ppm)
        factor = math.ceil(math.sqrt(rgb.width * rgb.height / MAX_DECODED_PIXELS))
        if upright:
            factor = max(factor, min(rgb.size) // LARGE_SIDE)
        if factor > 1:
            rgb = rgb.reduce(factor)
        return Decoded(rgb, mode, size, turn is not None)


def is_turned(encoded: bytes, image_format: str) -> bool:
    """Returns whether an image has an orientation other than upright; False if it has no header."""
    try:
        with _opened(encoded, image_format) as image:
            return _orientation(image) in _TURNS
    except Exception:
        return False


@contextlib.contextmanager
def _opened(encoded: bytes, image_format: str):
    Image.MAX_IMAGE_PIXELS = None  # `decode` has its own limit, and names the size
    if image_format == HEIC:
        with contextlib.suppress(ImportError):
            importlib.import_module("pillow_heif").register_heif_opener()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata
        try:
            image = Image.open(io.BytesIO(encoded))
        except UnidentifiedImageError:
            raise CorruptImageError(_unreadable(encoded, image_format)) from None
        with image:
            if image.format in _DRAWINGS:
                raise CorruptImageError(f"is a drawing ({image.format}), not an image of pixels")
            yield image


def _unreadable(encoded: bytes, image_format: str) -> str:
    if image_format == HEIC:
        return "is a HEIC image, which needs `pip install pillow-heif`; or save it as JPEG"
    if image_format:
        return f"is a damaged {image_format}, or one of a kind that Pillow cannot read"
    return f"is no image (it starts with the bytes {encoded[:4].hex(' ')})"


def _orientation(image: Image.Image) -> int | None:
    """Returns EXIF's orientation, or else that of XMP; None if there is none that can be read."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # Pillow's readers of metadata raise errors of many types
        return None


def _rgb(image: Image.Image, is_gray_ppm: bool) -> Image.Image:
    """Returns the pixels in RGB: deep gray scaled to 8 bits, transparent parts on white."""
    if image.mode not in _MODES:
        raise CorruptImageError(f"has colors that cannot be converted ({image.mode})")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = _eight_bits(image, is_gray_ppm)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        canvas = Image.new("RGB", layers.size, _WHITE)
        canvas.paste(layers, mask=layers.getchannel("A"))
        return canvas
    return image.convert("RGB")


def _eight_bits(image: Image.Image, is_sixteen_bits: bool) -> Image.Image:
    """Scales 32-bit integers and floats, which have no fixed range: the smallest that holds them.

    Ranges are 0..1 (floats only), 0..255 and 0..65535.
    """
    values = np.asarray(image)
    lowest, highest = values.min(), values.max()
    if not 0 <= lowest <= highest <= 65535:  # nor may they be NaN
        raise CorruptImageError(
            f"has gray values from {lowest:g} to {highest:g}: "
            "scale them to 0..1, 0..255 or 0..65535"
        )
    if image.mode == "F" and highest <= 1:
        values = np.round(values * np.float64(255))
    elif highest <= 255 and not is_sixteen_bits:
        values = np.round(values)
    else:
        values = np.floor(values / 256)
    return Image.fromarray(values.astype(np.uint8))
