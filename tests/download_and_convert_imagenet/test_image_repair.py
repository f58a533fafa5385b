from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from download_and_convert_imagenet.image_repair import CorruptImageError, prepare_image
from tests.download_and_convert_imagenet.encoded_images import decode, encode, picture

PICTURE = picture(83, 61)
PIXELS = np.asarray(PICTURE).astype(int)
JPEG = encode(PICTURE)
# JPEG of quality 100 without subsampling rounds twice: to whole YCbCr values and coefficients.
ROUNDING = 3


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
    assert (decode(deep.encoded) == 30_000 // 257).all()


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is no image"),
        (JPEG[: len(JPEG) // 2], "is a truncated JPEG$"),
        (JPEG[:-2], "is a truncated JPEG$"),
        (encode(PICTURE, "PNG")[:2000], "is a truncated PNG$"),
        (encode(PICTURE, "GIF")[:60], "is a damaged GIF"),
        (b"BM" + bytes(50), "is a damaged BMP"),
    ],
)
def test_corrupt_images_say_how(encoded, message):
    with pytest.raises(CorruptImageError, match=message):
        prepare_image(encoded)
