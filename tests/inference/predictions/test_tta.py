"""The views against NumPy: which pixels of an image each shows, for every shape of image."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from inference.view import View
from preprocessing.images.photos import encoded_view
from preprocessing.images.tta import views

_SHAPES = {
    "wide": (60, 100), "tall": (101, 37), "square": (80, 80), "tiny": (3, 2), "pixel": (1, 1),
    "larger": (700, 333), "panorama": (90, 1400),
}  # fmt: skip


def png(pixels):
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return tf.constant(written.getvalue())


def ramps(height, width):
    """Red is the column, green the row (in 0..255), blue is noise."""
    pixels = np.zeros([height, width, 3], np.uint8)
    pixels[..., 0] = np.arange(width) % 256
    pixels[..., 1] = np.arange(height)[:, np.newaxis] % 256
    pixels[..., 2] = np.random.default_rng(0).integers(0, 256, [height, width])
    return pixels


def shown(pixels, tta, size, view=None):
    own = (view or View()).maker(size)
    return views(tta, size, own)(png(pixels), tf.constant(0, tf.int64)).numpy()


def bilinear(pixels, rows, columns):
    """Two sides, one after the other: each output pixel's center falls between two input pixels."""
    image = pixels.astype(np.float64)
    for axis, number in ((0, rows), (1, columns)):
        length = image.shape[axis]
        # In float32, as TensorFlow: a column far to the right has fewer digits behind the point.
        step = np.float32(length) / np.float32(number)
        place = (np.arange(number, dtype=np.float32) + np.float32(0.5)) * step - np.float32(0.5)
        place = np.clip(place, 0, length - 1).astype(np.float64)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, length - 1)
        share = (place - low).reshape([-1, 1, 1] if axis == 0 else [1, -1, 1])
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


def with_shorter_side(pixels, shorter):
    height, width = pixels.shape[:2]
    least = min(height, width)
    return bilinear(pixels, height * shorter // least, width * shorter // least)


def center(image, size):
    y, x = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[y : y + size, x : x + size]


def letterboxed(pixels, size):
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    rows, columns = (max(int(side * scale + 0.5), 1) for side in (height, width))
    square = np.full([size, size, 3], 127.0)
    y, x = (size - rows) // 2, (size - columns) // 2
    square[y : y + rows, x : x + columns] = bilinear(pixels, rows, columns)
    return square


def ten(pixels, size):
    image = with_shorter_side(pixels, size * 256 // 224)
    crops = [image[:size, :size], image[:size, -size:], image[-size:, :size],
             image[-size:, -size:], center(image, size)]  # fmt: skip
    return [*crops, *(np.fliplr(crop) for crop in crops)]


_EXPECTED = {
    "none": lambda pixels, size: [bilinear(pixels, size, size)],
    "letterbox": lambda pixels, size: [letterboxed(pixels, size)],
    "keep-aspect": lambda pixels, size: [center(with_shorter_side(pixels, size), size)],
    "1-crop": lambda pixels, size: [center(with_shorter_side(pixels, size * 256 // 224), size)],
    "10-crop": ten,
}


@pytest.mark.parametrize("size", [28, 56])
@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("tta", _EXPECTED)
def test_every_pixel_of_every_view(tta, shape, size):
    pixels = ramps(*_SHAPES[shape])
    expected = np.array(_EXPECTED[tta](pixels, size))
    found = shown(pixels, tta, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)


def test_where_nothing_is_resized_the_pixels_are_the_images_own():
    """Bit by bit: the window of a 64 x 96 image whose shorter side fits."""
    pixels = ramps(64, 96)
    np.testing.assert_array_equal(shown(pixels, "keep-aspect", 64)[0], pixels[:, 16:80])
    np.testing.assert_array_equal(shown(pixels, "1-crop", 56)[0], pixels[4:60, 20:76])
    crops = shown(pixels, "10-crop", 56)
    for crop, (y, x) in zip(crops, [(0, 0), (0, 40), (8, 0), (8, 40), (4, 20)], strict=False):
        np.testing.assert_array_equal(crop, pixels[y : y + 56, x : x + 56])
    np.testing.assert_array_equal(crops[5:], crops[:5, :, ::-1])
    np.testing.assert_array_equal(shown(pixels[:, :64], "none", 64)[0], pixels[:, :64])
    boxed = shown(pixels, "letterbox", 96)[0]
    np.testing.assert_array_equal(boxed[16:80], pixels)
    assert (boxed[:16] == 127).all()
    assert (boxed[80:] == 127).all()


@pytest.mark.parametrize(
    ("size", "shorter"), [(224, 256), (240, 274), (260, 297), (280, 320), (300, 342)]
)
def test_the_shorter_side_of_one_crop(size, shorter):
    """EfficientNet-Lite0 to 4: a column's number tells where the crop begins and its scale."""
    pixels = ramps(shorter, shorter)
    pixels[..., 0] = np.minimum(np.arange(shorter), 255)
    first = (shorter - size) // 2
    expected = pixels[first : first + size, first : first + size]
    np.testing.assert_array_equal(shown(pixels, "1-crop", size)[0], expected)


def test_a_strip_is_cut_before_it_grows():
    """1 x 5000 to a shorter side of 256 would have 1.3 million columns."""
    pixels = np.zeros([1, 5000, 3], np.uint8)
    pixels[:, 2492:2508] = 200
    assert (shown(pixels, "1-crop", 224) == 200).all()
    assert shown(pixels, "10-crop", 224).shape == (10, 224, 224, 3)


@pytest.mark.parametrize("method", ["vgg", "inception", "efficientnet", "whole"])
def test_flip_is_the_networks_own_view_and_its_mirror_image(method):
    pixels, view = ramps(60, 100), View(method, "bicubic")
    if method == "whole":
        view = View(method)
    own = encoded_view(png(pixels), 28, **vars(view)).numpy()
    np.testing.assert_array_equal(shown(pixels, None, 28, view), [own])
    np.testing.assert_array_equal(shown(pixels, "flip", 28, view), [own, np.fliplr(own)])
