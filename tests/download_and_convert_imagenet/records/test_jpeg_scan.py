"""JPEGs that have an end but lack pixels are told from whole ones of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from download_and_convert_imagenet.records import jpeg_scan
from download_and_convert_imagenet.records.image_headers import read_header
from download_and_convert_imagenet.records.image_repair import prepare_image
from tests.download_and_convert_imagenet.records.encoded_images import encode, picture

GRAIN = np.random.default_rng(0).integers(-30, 30, (150, 200, 3))
PHOTO = Image.fromarray(
    np.clip(np.asarray(picture(200, 150)).astype(int) + GRAIN, 0, 255).astype(np.uint8)
)
SEQUENTIAL = {
    "common": encode(PHOTO, quality=80),
    "fine": encode(PHOTO, quality=95, subsampling=0),
    "optimized": encode(PHOTO, quality=80, optimize=True),
    "gray": encode(PHOTO.convert("L"), quality=85),
    "restarts by rows": encode(PHOTO, quality=85, restart_marker_rows=1),
    "restarts by blocks": encode(PHOTO, quality=85, restart_marker_blocks=7),
}
WHOLE = SEQUENTIAL | {
    "progressive": encode(PHOTO, quality=85, progressive=True),
    "progressive with restarts": encode(PHOTO, progressive=True, restart_marker_rows=1),
    "flat": encode(Image.new("RGB", (300, 200), (10, 200, 30)), optimize=True),
    "flat gray": encode(Image.new("RGB", (900, 700), (128, 128, 128)), optimize=True),
    "trailing bytes": encode(PHOTO) + b"trailing \xff\x44" * 9 + bytes(99),
    "bytes before the end": encode(PHOTO)[:-2] + b"\x12" * 30 + b"\xff\xd9",
    "fill bytes": encode(PHOTO)[:-2] + b"\xff\xff\xff\xd9",
}
_HOLES = {
    "zeros": lambda raw, n: raw[: n // 3] + bytes(n // 3) + raw[n // 3 * 2 :],
    "block": lambda raw, n: raw[: n // 2] + bytes(512) + raw[n // 2 + 512 :],
    "missing": lambda raw, n: raw[: n // 2] + raw[n // 4 * 3 :],
    "end": lambda raw, n: raw[: n // 2] + b"\xff\xd9",
    "marker": lambda raw, n: raw[: n // 2] + b"\xff\x44" + raw[n // 2 + 2 :],
}
# What costs no decoding, and is therefore seen by the converter.
SEEN_BY_THE_CONVERTER = ("zeros", "block", "marker")


def holed(raw: bytes, how: str) -> bytes:
    """The JPEG with a hole."""
    return _HOLES[how](raw, len(raw))


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_images_have_no_holes(kind):
    assert not jpeg_scan.has_holes(WHOLE[kind])
    assert prepare_image(WHOLE[kind], upright=True).encoded is WHOLE[kind]


@pytest.mark.parametrize("how", _HOLES)
@pytest.mark.parametrize("kind", SEQUENTIAL)
def test_holes_are_found(kind, how):
    encoded = holed(SEQUENTIAL[kind], how)
    assert jpeg_scan.has_holes(encoded)
    is_suspect = jpeg_scan.may_have_holes(encoded, read_header(encoded))
    assert is_suspect or how not in SEEN_BY_THE_CONVERTER


@pytest.mark.parametrize("how", ["zeros", "block", "marker"])
def test_holes_of_progressive_images(how):
    assert jpeg_scan.has_holes(holed(WHOLE["progressive"], how))
