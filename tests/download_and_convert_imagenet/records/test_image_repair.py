from __future__ import annotations

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from download_and_convert_imagenet.records.image_headers import CorruptImageError
from download_and_convert_imagenet.records.image_repair import prepare_image
from tests.conftest import ROOT
from tests.download_and_convert_imagenet.records.encoded_images import decode, encode, picture

PICTURE = picture(83, 61)
PIXELS = np.asarray(PICTURE).astype(int)
JPEG = encode(PICTURE)
# JPEG of quality 100 without subsampling rounds twice: to whole YCbCr values and coefficients.
ROUNDING = 3


def with_stray_byte(encoded: bytes) -> bytes:
    """A JPEG with a byte between two segments that belongs to neither."""
    return encoded[:20] + b"\0" + encoded[20:]


def png_header(width: int, height: int) -> bytes:
    """A PNG without pixels."""
    size = struct.pack(">II", width, height)
    whole = encode(Image.new("L", (1, 1)), "PNG")
    chunk = b"IHDR" + size + whole[24:29]
    return whole[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:]


@pytest.mark.parametrize(
    "encoded",
    [JPEG, encode(PICTURE.convert("L")), encode(PICTURE, progressive=True), JPEG + b"trailing"],
)
def test_what_every_decoder_reads_keeps_its_bytes(encoded):
    prepared = prepare_image(encoded)
    assert prepared.encoded is encoded
    assert (prepared.width, prepared.height) == (83, 61)
    assert (prepared.image_format, prepared.repair) == ("JPEG", None)


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_become_jpeg_of_the_same_pixels(image_format):
    prepared = prepare_image(encode(PICTURE, image_format))
    assert prepared.encoded[:3] == b"\xff\xd8\xff"
    assert (prepared.image_format, prepared.repair) == ("JPEG", image_format)
    assert (prepared.width, prepared.height) == (83, 61)
    assert np.abs(decode(prepared.encoded) - PIXELS).max() <= ROUNDING


def test_cmyk_becomes_rgb_by_the_formula_of_ink():
    cmyk = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1, 1, 4), np.uint8), "CMYK")
    encoded = encode(cmyk.resize((16, 16)), quality=100, subsampling=0)
    prepared = prepare_image(encoded)
    assert prepared.repair == "CMYK JPEG"
    inks = np.asarray(cmyk)[0, 0].astype(float)
    expected = (255 - inks[:3]) * (255 - inks[3]) / 255
    assert np.abs(decode(prepared.encoded) - expected).max() <= 2 * ROUNDING


def test_cmyk_agrees_with_tensorflow():
    import tensorflow as tf

    encoded = encode(PICTURE.convert("CMYK"), quality=95)
    theirs = tf.io.decode_jpeg(encoded, channels=3).numpy().astype(int)
    ours = tf.io.decode_jpeg(prepare_image(encoded).encoded, channels=3).numpy().astype(int)
    assert np.abs(ours - theirs).mean() < 1


def test_kept_png():
    encoded = encode(PICTURE, "PNG")
    prepared = prepare_image(encoded, keep_png=True)
    assert prepared.encoded is encoded
    assert (prepared.image_format, prepared.repair) == ("PNG", None)
    bitmap = prepare_image(encode(PICTURE, "BMP"), keep_png=True)
    assert (bitmap.image_format, bitmap.repair) == ("PNG", "BMP")
    assert np.array_equal(decode(bitmap.encoded), PIXELS)


def test_transparent_parts_are_white_and_sixteen_bits_become_eight():
    half = PICTURE.convert("RGBA")
    half.putalpha(Image.fromarray(np.where(np.arange(83) < 40, 255, 0)[None].repeat(61, 0) == 255))
    prepared = prepare_image(encode(half, "PNG"), keep_png=True)
    assert prepared.repair == "transparent PNG"
    pixels = decode(prepared.encoded)
    assert np.array_equal(pixels[:, :40], PIXELS[:, :40])
    assert (pixels[:, 40:] == 255).all()
    deep = prepare_image(encode(Image.new("I;16", (5, 4), 30_000), "PNG"), keep_png=True)
    assert (decode(deep.encoded) == 30_000 // 256).all()


def test_stray_bytes_between_headers_that_decoders_skip():
    prepared = prepare_image(with_stray_byte(JPEG))
    assert (prepared.width, prepared.height, prepared.repair) == (83, 61, "JPEG")
    assert np.abs(decode(prepared.encoded) - decode(JPEG)).max() <= ROUNDING


def test_the_longest_side_of_a_jpeg():
    assert prepare_image(encode(Image.new("L", (65_500, 1)), "PNG")).width == 65_500
    kept = prepare_image(encode(Image.new("L", (70_000, 2)), "PNG"), keep_png=True)
    assert (kept.image_format, kept.repair) == ("PNG", None)


# With 100 MiB more than it has, a process is to decode 150 million pixels.
OUT_OF_MEMORY = """
import resource
from PIL import Image
from download_and_convert_imagenet.records.image_repair import prepare_image
from tests.download_and_convert_imagenet.records.encoded_images import encode
encoded = encode(Image.new("1", (15_000, 10_000)), "PNG")
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (100 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    prepare_image(encoded)
except MemoryError:
    print("out of memory")
"""


def test_an_image_for_which_memory_is_short_is_not_corrupt():
    completed = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], cwd=ROOT, capture_output=True, text=True
    )
    assert completed.stdout == "out of memory\n", completed.stderr


@pytest.mark.slow
def test_more_pixels_than_pillow_opens_by_itself():
    """TensorFlow neither: it is averaged down by the smallest whole factor that fits."""
    prepared = prepare_image(encode(Image.new("1", (18_000, 10_000)), "PNG"))
    assert (prepared.width, prepared.height) == (9_000, 5_000)
    assert prepared.repair == "PNG shrunk from 18,000x10,000 to 9,000x5,000 pixels,"


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is no image .*68 65 6c 6c"),
        (JPEG[: len(JPEG) // 2], "is a truncated JPEG$"),
        (JPEG[:-2], "is a truncated JPEG$"),
        (with_stray_byte(JPEG[:-200]), "is a truncated JPEG$"),
        (JPEG[:20] + bytes(600) + JPEG[-2:], "is a damaged JPEG"),
        (png_header(40_000, 30_000), r"is too large \(40,000x30,000 pixels"),
        (png_header(60_000, 60_000), r"is too large \(60,000x60,000 pixels"),
        (encode(Image.new("L", (70_000, 2)), "PNG"), r"is too large for a JPEG \(70,000x2 pixels"),
        (encode(Image.new("L", (1, 65_501)), "PNG"), r"is too large for a JPEG \(1x65,501 pixels"),
        (encode(PICTURE, "PNG")[:2000], "is a truncated PNG$"),
        (encode(PICTURE, "GIF")[:60], "is a damaged GIF"),
        (b"BM" + bytes(50), "is a damaged BMP"),
    ],
)
def test_corrupt_images_say_how(encoded, message):
    with pytest.raises(CorruptImageError, match=message):
        prepare_image(encoded)
