from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from preprocessing.images.decoding import decode_window, whole_image
from preprocessing.records.examples import has_image_signature
from tests.preprocessing.image_shards import encode

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def pixels():
    """Smooth, so that JPEG changes little: three different ramps."""
    x = np.tile(np.linspace(0, 255, WIDTH), (HEIGHT, 1))
    y = np.tile(np.linspace(0, 255, HEIGHT)[:, None], (1, WIDTH))
    return np.stack([x, y, 255 - x], -1).astype(np.uint8)


def decode(encoded, choose=whole_image):
    return decode_window(tf.constant(encoded), choose).numpy()


def difference(decoded, expected):
    return np.abs(decoded.astype(int) - expected.astype(int)).max()


@pytest.mark.parametrize(
    ("file_format", "mode", "tolerance"),
    [
        ("PNG", "RGB", 0),
        ("PNG", "RGBA", 0),
        ("BMP", "RGB", 0),
        ("JPEG", "RGB", 8),
        ("JPEG", "CMYK", 8),
    ],
)
def test_every_format_gives_three_channels(pixels, file_format, mode, tolerance):
    options = {"quality": 95, "subsampling": 0} if file_format == "JPEG" else {}
    decoded = decode(encode(pixels, file_format, mode, **options))
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert decoded.dtype == np.uint8
    assert difference(decoded, pixels) <= tolerance


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_gray_images_get_three_equal_channels(pixels, file_format):
    decoded = decode(encode(pixels, file_format, "L"))
    luma = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow converts
    assert np.array_equal(decoded[..., 0], decoded[..., 2])
    assert difference(decoded[..., 1], luma.round()) <= 4


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_window_is_that_part_of_the_image(pixels, file_format):
    encoded = encode(pixels, file_format)
    window = decode(encoded, lambda height, width: tf.stack([5, 7, height - 20, width - 40]))
    assert window.shape == (28, 24, 3)
    assert difference(window, decode(encoded)[5:33, 7:31]) == 0


def test_signatures(pixels):
    for file_format in ("JPEG", "PNG", "GIF", "BMP"):
        assert has_image_signature(tf.constant(encode(pixels, file_format)))
    for other in (b"", b"B", b"\xff\xd8", b"hello", b"RIFF1234WEBP"):
        assert not has_image_signature(tf.constant(other))
