"""Image files of every kind, each with its pixels by other code than ours, or its refusal."""

from __future__ import annotations

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.download_and_convert_imagenet.records.encoded_images import encode, picture

PICTURE = picture(50, 36)
PIXELS = np.asarray(PICTURE).astype(int)
GRAY = np.asarray(PICTURE.convert("L")).astype(int)
# How the stored pixels must be moved, by the number of the orientation (CIPA DC-008, 4.6.4).
UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
_STORED = UPRIGHT | {6: UPRIGHT[8], 8: UPRIGHT[6]}
# JPEG of quality 100 without subsampling rounds twice: to whole YCbCr values and coefficients.
REENCODED = 4
_BIG_ENDIAN_SIX = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
_XMP_SIX = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'


class Readable(NamedTuple):
    """A file, its pixels (int [height, width, 3]), and by how much a reader may differ."""

    encoded: bytes
    pixels: np.ndarray
    bound: int = 0


def oriented(image: Image.Image, number: int, image_format: str, **options) -> bytes:
    """An image stored turned, as cameras do; it is seen as `image`."""
    exif = Image.Exif()
    exif[0x0112] = number
    stored = Image.fromarray(np.ascontiguousarray(_STORED[number](np.asarray(image))))
    return encode(stored, image_format, exif=exif, **options)


def readable() -> dict[str, Readable]:
    """The zoo by file name."""
    return _jpegs() | _turned() | _pngs() | _deep() | _others()


def _by_pillow(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def _jpegs() -> dict[str, Readable]:
    files = {
        "plain.jpg": encode(PICTURE),
        "fine.jpg": encode(PICTURE, quality=95, subsampling=0),
        "half.jpg": encode(PICTURE, quality=85, subsampling=1),
        "progressive.jpg": encode(PICTURE, progressive=True),
        "optimized.jpg": encode(PICTURE, optimize=True),
        "restarts.jpg": encode(PICTURE, restart_marker_blocks=3),
        "gray.jpg": encode(PICTURE.convert("L")),
        "rgb.jpg": encode(PICTURE, keep_rgb=True),
        "trailing.JPEG": encode(PICTURE) + b"trailing \xff\x44",
        "jpeg_named.png": encode(PICTURE),
        "bad_exif.jpg": encode(PICTURE, exif=b"Exif\0\0MM\0*"),
    }
    exact = {name: Readable(encoded, _by_pillow(encoded)) for name, encoded in files.items()}
    cmyk = encode(PICTURE.convert("CMYK"), quality=95)
    return exact | {"cmyk.jpg": Readable(cmyk, _by_pillow(cmyk), REENCODED)}


def _turned() -> dict[str, Readable]:
    zoo = {}
    for number, turn in UPRIGHT.items():
        encoded = oriented(PICTURE, number, "JPEG", quality=90)
        pixels = turn(_by_pillow(encoded))
        zoo[f"orientation_{number}.jpg"] = Readable(
            encoded, pixels, 0 if number == 1 else REENCODED
        )
    for name, options in {
        "big_endian.jpg": {"exif": _BIG_ENDIAN_SIX},
        "xmp.jpg": {"xmp": _XMP_SIX},
    }.items():
        encoded = encode(PICTURE, **options)
        zoo[name] = Readable(encoded, UPRIGHT[6](_by_pillow(encoded)), REENCODED)
    for name, file_format, options, bound in (
        ("turned.png", "PNG", {}, 0),
        ("turned.tif", "TIFF", {}, 0),
        ("turned.webp", "WEBP", {"lossless": True}, REENCODED),
        ("turned.avif", "AVIF", {"quality": 100, "subsampling": "4:4:4"}, REENCODED + 1),
    ):
        zoo[name] = Readable(oriented(PICTURE, 6, file_format, **options), PIXELS, bound)
    encoded = oriented(PICTURE.convert("L"), 8, "JPEG")
    pixels = UPRIGHT[8](_by_pillow(encoded))
    return zoo | {"turned_gray.jpg": Readable(encoded, pixels, REENCODED)}


def _rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=-1)


def _pngs() -> dict[str, Readable]:
    half = PICTURE.convert("RGBA")
    half.paste((9, 9, 9, 0), (25, 0, 50, 36))
    on_white = PIXELS.copy()
    on_white[:, 25:] = 255
    gray_half = PICTURE.convert("LA")
    gray_half.paste((9, 0), (25, 0, 50, 36))
    gray_on_white = GRAY.copy()
    gray_on_white[:, 25:] = 255
    palette = PICTURE.quantize(16)
    black = PICTURE.convert("1")
    ids = np.zeros((36, 50), np.uint8)
    ids[:, 25:] = 1
    holed = Image.fromarray(ids, "P")
    holed.putpalette([200, 10, 20, 7, 7, 7])
    red_on_white = np.where(ids[..., None] == 1, 255, np.array([200, 10, 20]))
    frames = [Image.new("RGB", (50, 36), color) for color in ("red", "blue")]
    first = np.broadcast_to([255, 0, 0], (36, 50, 3))
    return {
        "rgb.png": Readable(encode(PICTURE, "PNG"), PIXELS),
        "gray.png": Readable(encode(PICTURE.convert("L"), "PNG"), _rgb(GRAY)),
        "palette.png": Readable(encode(palette, "PNG"), np.asarray(palette.convert("RGB"))),
        "one_bit.png": Readable(encode(black, "PNG"), _rgb(np.asarray(black) * 255)),
        "half.png": Readable(encode(half, "PNG"), on_white),
        "gray_half.png": Readable(encode(gray_half, "PNG"), _rgb(gray_on_white)),
        "holed.png": Readable(encode(holed, "PNG", transparency=1), red_on_white),
        "holed.gif": Readable(encode(holed, "GIF", transparency=1), red_on_white),
        "half.webp": Readable(encode(half, "WEBP", lossless=True), on_white, REENCODED),
        "animated.gif": Readable(
            encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), first
        ),
        "animated.png": Readable(
            encode(frames[0], "PNG", save_all=True, append_images=frames[1:]), first
        ),
    }


def _deep() -> dict[str, Readable]:
    """Images of more than 8 bits: the high byte of 16, and the smallest range of the others."""
    bits = np.arange(36 * 50, dtype=np.uint16).reshape(36, 50) * 36
    high = _rgb(bits.astype(int) // 256)
    unit = (GRAY / 255).astype(np.float32)
    color = np.stack([bits, bits[::-1], bits[:, ::-1]], -1)
    pgm = b"P5 50 36 65535\n" + bits.astype(">u2").tobytes()
    return {
        "sixteen.png": Readable(encode(Image.fromarray(bits), "PNG"), high),
        "sixteen_rgb.png": Readable(_sixteen_bit_png(color), color.astype(int) // 256),
        "sixteen.tif": Readable(encode(Image.fromarray(bits), "TIFF"), high),
        "sixteen_big_endian.tif": Readable(_big_endian_tiff(bits), high),
        "sixteen.pgm": Readable(pgm, high),
        "integers.tif": Readable(
            encode(Image.fromarray(GRAY.astype(np.int32)), "TIFF"), _rgb(GRAY)
        ),
        "deep_integers.tif": Readable(encode(Image.fromarray(bits.astype(np.int32)), "TIFF"), high),
        "floats_to_1.tif": Readable(encode(Image.fromarray(unit), "TIFF"), _rgb(GRAY)),
        "floats_to_255.tif": Readable(
            encode(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), _rgb(GRAY)
        ),
        "floats_to_65535.tif": Readable(
            encode(Image.fromarray(bits.astype(np.float32)), "TIFF"), high
        ),
    }


def _others() -> dict[str, Readable]:
    cmyk = PICTURE.convert("CMYK")
    large = np.zeros((2048, 2100), np.uint8)
    large[::2] = 255
    smooth = {
        "lossy.webp": (encode(PICTURE, "WEBP"), REENCODED),
        "a.avif": (encode(PICTURE, "AVIF"), REENCODED),
        "a.jp2": (encode(PICTURE, "JPEG2000"), REENCODED),
    }
    zoo = {name: Readable(data, _by_pillow(data), bound) for name, (data, bound) in smooth.items()}
    return zoo | {
        "rgb.bmp": Readable(encode(PICTURE, "BMP"), PIXELS),
        "gray.bmp": Readable(encode(PICTURE.convert("L"), "BMP"), _rgb(GRAY)),
        "rgb.tif": Readable(encode(PICTURE, "TIFF"), PIXELS),
        "lzw.tiff": Readable(encode(PICTURE, "TIFF", compression="tiff_lzw"), PIXELS),
        "cmyk.tif": Readable(encode(cmyk, "TIFF"), np.asarray(cmyk.convert("RGB"))),
        "rgb.ppm": Readable(encode(PICTURE, "PPM"), PIXELS),
        "gray.pgm": Readable(encode(PICTURE.convert("L"), "PPM"), _rgb(GRAY)),
        "large.png": Readable(
            encode(Image.fromarray(large), "PNG", compress_level=1),
            np.full((1024, 1050, 3), 128),
            1,
        ),
    }


def _sixteen_bit_png(values: np.ndarray) -> bytes:
    """A color PNG of 16 bits, which Pillow cannot write: uint16 [height, width, 3]."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def _big_endian_tiff(values: np.ndarray) -> bytes:
    """A gray TIFF of 16 bits as a Motorola writes it."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8)]
    tags += [(277, 1), (278, height), (279, values.nbytes)]
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack(">H", len(tags)) + entries + bytes(4)
    return (
        struct.pack(">2sHI", b"MM", 42, 8 + values.nbytes)
        + values.astype(">u2").tobytes()
        + (directory)
    )


def damaged() -> dict[str, tuple[bytes, str]]:
    """Files that are refused, and a regular expression of what is said of them."""
    jpeg = encode(picture(200, 150), quality=90)
    png = encode(PICTURE, "PNG")
    middle = len(jpeg) // 2
    values = np.linspace(-1, 1, 36 * 50, dtype=np.float32).reshape(36, 50)
    holed = jpeg[: middle - 300] + bytes(512) + jpeg[middle + 212 :]
    huge = bytearray(encode(PICTURE, "BMP"))
    struct.pack_into("<ii", huge, 18, 60_000, 60_000)
    return {
        "empty.jpg": (b"", "is empty"),
        "page.jpg": (b"<html>404</html>", "is no image .*3c 68 74 6d"),
        "cut.jpg": (jpeg[:middle], "is a truncated JPEG$"),
        "headers.jpg": (jpeg[:100], "is a truncated JPEG"),
        "zeros.jpg": (holed, r"is a damaged JPEG \(a part of its pixels is missing\)"),
        "marker.jpg": (
            jpeg[:middle] + b"\xff\x44" + jpeg[middle + 2 :],
            r"is a damaged JPEG \(a part of its pixels is missing\)",
        ),
        "cut.png": (png[: len(png) // 2], "is a truncated PNG$"),
        "bit.png": (png[:200] + bytes([png[200] ^ 1]) + png[201:], "is a (truncated|damaged) PNG"),
        "cut.gif": (encode(PICTURE, "GIF")[:60], "is a damaged GIF"),
        "cut.tif": (encode(PICTURE, "TIFF")[:300], "is a damaged TIFF"),
        "cut.webp": (encode(PICTURE, "WEBP")[:90], "is a damaged WebP"),
        "cut.avif": (encode(PICTURE, "AVIF")[:300], "is a damaged AVIF"),
        "cut.jp2": (encode(PICTURE, "JPEG2000")[:200], "is a damaged JPEG 2000"),
        "negative.tif": (
            encode(Image.fromarray(values), "TIFF"),
            "has gray values from -1 to 1: scale them",
        ),
        "nan.tif": (encode(Image.fromarray(values * np.nan), "TIFF"), "from nan to nan"),
        "lab.tif": (
            encode(Image.new("LAB", (9, 9)), "TIFF"),
            r"has colors that cannot be converted \(LAB\)",
        ),
        "huge.bmp": (
            bytes(huge),
            r"is too large \(60,000x60,000 pixels; the limit is 1,000,000,000",
        ),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(90), "is a HEIC image, which needs `pip inst"),
        "drawing.jpg": (encode(PICTURE, "EPS"), "is a drawing .EPS., not an image of pixels"),
    }
