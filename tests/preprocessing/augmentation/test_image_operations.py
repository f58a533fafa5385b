"""Each operation against Pillow, or against NumPy where the published operation is not Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from scipy import ndimage

from preprocessing.augmentation import image_ops
from tests.preprocessing.augmentation import reference_operations as reference


def coarse_photo(height, width, seed=0):
    """Smooth areas, edges and some noise, not using the whole range."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(20, 230, (5, 7, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = pixels + random.integers(-6, 7, pixels.shape)
    noisy[height // 3 :, width // 2 :] //= 2
    return noisy.clip(9, 240).astype(np.uint8)


IMAGES = {
    "photo": coarse_photo(61, 83),
    "224": coarse_photo(224, 224, 1),
    "noise": np.random.default_rng(2).integers(0, 256, (64, 40, 3), dtype=np.uint8),
    "two values": np.repeat(np.array([[[7, 90, 0]], [[7, 91, 255]]], np.uint8), 30, 1),
    "one value": np.full((20, 30, 3), (0, 77, 255), np.uint8),
    "four pixels": np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20,
}
FACTORS = (0.1, 0.46, 1.0, 1.36, 1.9, 5.14)
CASES = [
    ("Invert", [None]), ("AutoContrast", [None]), ("Equalize", [None]),
    ("Posterize", [0, 1, 2, 4, 8, 11]), ("Solarize", [0, 1, 76, 128, 255, 256, 716]),
    ("SolarizeAdd", [0, 33, 77, 110, 308]), ("Color", FACTORS), ("Contrast", FACTORS),
    ("MeanContrast", (0.01, *FACTORS)),
    ("Brightness", FACTORS), ("Sharpness", FACTORS),
]  # fmt: skip
FUNCTIONS = {
    "Invert": image_ops.invert,
    "AutoContrast": image_ops.auto_contrast,
    "Equalize": image_ops.equalize,
    "Posterize": image_ops.posterize,
    "Solarize": image_ops.solarize,
    "SolarizeAdd": image_ops.solarize_add,
    "Color": image_ops.color,
    "Contrast": image_ops.contrast,
    "MeanContrast": image_ops.mean_contrast,
    "Brightness": image_ops.brightness,
    "Sharpness": image_ops.sharpness,
    "Rotate": image_ops.rotate,
    "ShearX": image_ops.shear_x,
    "ShearY": image_ops.shear_y,
    "TranslateX": image_ops.translate_x,
    "TranslateY": image_ops.translate_y,
}


def changed(name, pixels, argument):
    arguments = [] if argument is None else [tf.constant(argument)]
    result = FUNCTIONS[name](tf.constant(pixels), *arguments)
    assert result.dtype == tf.uint8
    assert result.shape == pixels.shape
    return result.numpy()


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize(("name", "arguments"), CASES, ids=[name for name, _ in CASES])
def test_pixel_operation(name, arguments, image):
    pixels = IMAGES[image]
    for argument in arguments:
        expected = reference.OPERATIONS[name](pixels, argument)
        result = changed(name, pixels, argument)
        if name == "AutoContrast":
            # Pillow multiplies by a rounded 255/spread, and so misses some whole numbers by one.
            spread = np.ptp(pixels, (0, 1)).astype(int)
            exact = (pixels - pixels.min((0, 1)).astype(int)) * 255 // np.maximum(spread, 1)
            assert np.abs(result.astype(int) - expected).max() <= 1
            expected = np.where(spread > 0, exact, pixels)
        np.testing.assert_array_equal(result, expected, err_msg=f"{name} {argument}")


def test_posterize_and_solarize_are_pillows_where_pillow_has_them():
    pixels = IMAGES["noise"]
    image = Image.fromarray(pixels)
    for bits in (1, 3, 8):
        np.testing.assert_array_equal(
            changed("Posterize", pixels, bits), ImageOps.posterize(image, bits)
        )
    for threshold in (0, 60, 255):
        np.testing.assert_array_equal(
            changed("Solarize", pixels, threshold), ImageOps.solarize(image, threshold)
        )


def test_contrast_ignores_the_mean_as_published():
    """224 * 224 / 256 = 196 is where everything goes, although the image is black and white."""
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[:112] = 255
    result = changed("Contrast", pixels, 0.5)
    assert sorted(np.unique(result)) == [98, 225]  # 196 / 2 and (196 + 255) / 2, cut off


GEOMETRIC = [
    ("Rotate", (-24.0, -7.5, 0.0, 13.0, 27.0, 90.0)),
    ("ShearX", (-0.27, -0.1, 0.0, 0.21, 0.84)),
    ("ShearY", (-0.27, -0.1, 0.0, 0.21, 0.84)),
    ("TranslateX", (-225.0, -10.0, 0.0, 37.0, 61.0)),
    ("TranslateY", (-225.0, -10.0, 0.0, 37.0, 61.0)),
]


@pytest.mark.parametrize("image", ["photo", "224"])
@pytest.mark.parametrize(("name", "arguments"), GEOMETRIC, ids=[name for name, _ in GEOMETRIC])
def test_geometric_operation(name, arguments, image):
    pixels = IMAGES[image]
    for argument in arguments:
        x, y = reference.coordinates(name, pixels.shape, argument)
        # Half way between two pixels, float32 may take either.
        clear = (np.abs(x % 1 - 0.5) > 1e-3) & (np.abs(y % 1 - 0.5) > 1e-3)
        assert clear.mean() > 0.9
        result = changed(name, pixels, argument)
        np.testing.assert_array_equal(
            result[clear], reference.sample(pixels, x, y)[clear], err_msg=f"{name} {argument}"
        )


def test_rotation_turns_as_pillow_does():
    """Counter-clockwise; Pillow rounds some coordinates to the other side."""
    pixels = IMAGES["224"]
    for degrees in (-30, 12, 90):
        pillow = Image.fromarray(pixels).rotate(degrees, fillcolor=(128,) * 3)
        same = (changed("Rotate", pixels, float(degrees)) == np.asarray(pillow)).all(-1)
        assert same.mean() > 0.97


@pytest.mark.parametrize("image", ["photo", "noise", "four pixels"])
def test_smooth_rotation_interpolates_and_reflects(image):
    pixels = IMAGES[image]
    for degrees in (-170.0, -31.0, 0.0, 8.5, 90.0):
        x, y = reference.rotation(pixels.shape, degrees)
        # SciPy's "reflect" repeats the outermost pixel, as TensorFlow's does.
        expected = [
            ndimage.map_coordinates(channel, [y, x], order=1, mode="reflect")
            for channel in pixels.astype(float).transpose(2, 0, 1)
        ]
        result = image_ops.rotate_smoothly(tf.constant(pixels), tf.constant(degrees)).numpy()
        assert result.dtype == np.uint8
        assert np.abs(result - np.stack(expected, -1)).max() <= 0.51, degrees


@pytest.mark.parametrize("image", ["photo", "noise", "four pixels"])
def test_blur_is_a_gaussian(image):
    pixels = IMAGES[image]
    for sigma in (0.1, 0.6, 1.3, 2.0):
        expected = ndimage.gaussian_filter(
            pixels.astype(float), (sigma, sigma, 0), mode="nearest", radius=(6, 6, 0)
        )
        result = image_ops.blur(tf.constant(pixels), tf.constant(sigma)).numpy()
        assert result.dtype == np.uint8
        assert np.abs(result - expected).max() <= 0.501, sigma


def test_grayscale_is_pillows():
    pixels = IMAGES["noise"]
    expected = np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))
    np.testing.assert_array_equal(image_ops.grayscale(tf.constant(pixels)), expected)


@pytest.mark.parametrize(
    ("center", "half_side", "rows", "columns"),
    [
        ((0.5, 0.5), 4, (26, 34), (16, 24)),
        ((0.0, 0.0), 4, (0, 4), (0, 4)),
        ((0.999, 0.999), 4, (55, 60), (35, 40)),
        ((0.51, 0.01), 5, (25, 35), (0, 5)),
        ((0.5, 0.5), 40, (0, 60), (0, 40)),
        ((0.5, 0.5), 0, (30, 30), (20, 20)),
    ],
)
def test_cutout(center, half_side, rows, columns):
    pixels = np.random.default_rng(3).integers(0, 100, (60, 40, 3), dtype=np.uint8)
    expected = pixels.copy()
    expected[slice(*rows), slice(*columns)] = 128
    result = image_ops.cutout(tf.constant(pixels), tf.constant(half_side), center)
    np.testing.assert_array_equal(result, expected)
