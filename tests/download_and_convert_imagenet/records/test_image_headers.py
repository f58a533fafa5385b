from __future__ import annotations

import struct

import pytest
from PIL import Image

from download_and_convert_imagenet.records.image_headers import (
    CorruptImageError,
    ImageHeader,
    read_header,
)
from tests.download_and_convert_imagenet.records.encoded_images import encode, picture

PICTURE = picture(83, 61)
JPEG = encode(PICTURE)
START_OF_SCAN = b"\xff\xda"


def with_segment(encoded: bytes, marker: int, content: bytes) -> bytes:
    """A JPEG with one more segment right after its start."""
    segment = bytes((0xFF, marker)) + struct.pack(">H", 2 + len(content)) + content
    return encoded[:2] + segment + encoded[2:]


@pytest.mark.parametrize(
    "encoded",
    [
        JPEG,
        encode(PICTURE, progressive=True),
        encode(PICTURE, subsampling=0, optimize=True),
        encode(PICTURE, restart_marker_blocks=3),
        encode(PICTURE, keep_rgb=True),
        encode(PICTURE.convert("L")),
        encode(PICTURE, icc_profile=b"p" * 100_000),
        JPEG + b"bytes after the end",
        JPEG[:2] + b"\xff\xff\xff" + JPEG[2:],
    ],
    ids=["plain", "progressive", "444", "restarts", "rgb", "gray", "icc", "trailing", "fill"],
)
def test_common_jpegs(encoded):
    header = read_header(encoded)
    assert (header.image_format, header.width, header.height) == ("JPEG", 83, 61)
    assert header.is_common
    assert header.is_complete


def test_stray_bytes_between_headers_are_left_to_a_decoder():
    stray = JPEG[:20] + b"\0" + JPEG[20:]
    assert read_header(stray) == ImageHeader("JPEG", 0, 0, is_common=False, is_complete=True)
    assert not read_header(stray[:-2]).is_complete


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (65_000, 1), (257, 511)])
def test_sizes(size):
    header = read_header(encode(picture(*size)))
    assert (header.width, header.height) == size


def test_cmyk_is_not_common():
    header = read_header(encode(PICTURE.convert("CMYK")))
    assert (header.width, header.height, header.is_common) == (83, 61, False)


def test_orientation_does_not_turn_the_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    header = read_header(encode(PICTURE, exif=exif))
    assert (header.width, header.height) == (83, 61)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_no_beginning_of_a_jpeg_is_complete(options):
    encoded = encode(picture(24, 24), **options)
    assert read_header(encoded).is_complete
    for length in range(len(encoded)):
        try:
            assert not read_header(encoded[:length]).is_complete
        except CorruptImageError:
            assert length < encoded.rindex(START_OF_SCAN) + 2


def test_the_end_of_an_embedded_preview_is_not_the_end():
    assert read_header(with_segment(JPEG, 0xE1, b"Exif\0\0" + JPEG)).is_complete
    cut = with_segment(JPEG, 0xE1, b"Exif\0\0" + JPEG)[:-2]
    assert not read_header(cut).is_complete


@pytest.mark.parametrize(
    ("mode", "is_common"), [("RGB", True), ("L", True), ("P", True), ("RGBA", False), ("1", False)]
)
def test_png(mode, is_common):
    header = read_header(encode(PICTURE.convert(mode), "PNG"))
    assert (header.image_format, header.width, header.height) == ("PNG", 83, 61)
    assert header.is_common == is_common
    assert header.is_complete


def test_transparent_palette_and_sixteen_bits_are_not_common():
    assert not read_header(encode(PICTURE.convert("P"), "PNG", transparency=0)).is_common
    assert not read_header(encode(Image.new("I;16", (5, 4), 40_000), "PNG")).is_common


def test_a_png_is_complete_with_all_bytes_and_right_ones_only():
    encoded = encode(picture(9, 9), "PNG")
    for position in range(33, len(encoded)):
        assert not read_header(encoded[:position]).is_complete
        flipped = bytearray(encoded)
        flipped[position] ^= 4
        assert not read_header(bytes(flipped)).is_complete


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF", "WebP"])
def test_other_formats_are_known_by_their_signature(image_format):
    header = read_header(encode(PICTURE, image_format))
    assert header.image_format == image_format
    assert not header.is_common


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\xff\xd8\xff", "truncated JPEG"),
        (JPEG[:100], "truncated JPEG"),
        (JPEG[:2] + JPEG[JPEG.index(START_OF_SCAN) :], "damaged JPEG .*before its frame"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "truncated PNG"),
    ],
)
def test_what_is_no_image_is_named(encoded, message):
    with pytest.raises(CorruptImageError, match=message):
        read_header(encoded)
