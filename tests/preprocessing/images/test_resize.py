from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.params import FLAGS
from preprocessing.images.resize import resize


def image(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def sample_positions(num_in, num_out, half_pixel_centers):
    steps = np.arange(num_out)
    scale = num_in / num_out
    return (steps + 0.5) * scale - 0.5 if half_pixel_centers else steps * scale


def bilinear(pixels, size, half_pixel_centers):
    """Linear interpolation along each axis by np.interp, which clamps at the ends."""
    resized = pixels.astype(np.float64)
    for axis, num_out in enumerate(size):
        num_in = resized.shape[axis]
        positions = sample_positions(num_in, num_out, half_pixel_centers)
        resized = np.apply_along_axis(
            lambda line, x=positions, n=num_in: np.interp(x, np.arange(n), line), axis, resized
        )
    return resized


SHAPES = [((37, 53), (24, 24)), ((20, 20), (33, 47)), ((1, 9), (5, 5)), ((300, 200), (7, 224))]


@pytest.mark.parametrize("half_pixel_centers", [False, True])
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_bilinear_against_numpy(shape, size, half_pixel_centers):
    pixels = image(*shape)
    resized = resize(tf.constant(pixels), size, "bilinear", half_pixel_centers=half_pixel_centers)
    assert resized.dtype == tf.float32
    expected = bilinear(pixels, size, half_pixel_centers)
    # A float32 position is off by 2**-23 of the side, and neighbors differ by up to 255.
    np.testing.assert_allclose(resized.numpy(), expected, atol=255 * max(shape) * 2**-23)


@pytest.mark.parametrize("half_pixel_centers", [False, True])
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_nearest_against_numpy(shape, size, half_pixel_centers):
    pixels = image(*shape)
    rows, columns = (
        np.floor((np.arange(out) + (0.5 if half_pixel_centers else 0)) * (n / out) + 1e-6)
        .clip(0, n - 1)
        .astype(int)
        for n, out in zip(shape, size, strict=True)
    )
    resized = resize(tf.constant(pixels), size, "nearest", half_pixel_centers=half_pixel_centers)
    np.testing.assert_array_equal(resized.numpy(), pixels[rows][:, columns])


def test_area_is_the_mean_of_blocks():
    pixels = image(24, 36)
    resized = resize(tf.constant(pixels), (8, 12), "area", half_pixel_centers=False)
    blocks = pixels.astype(float).reshape(8, 3, 12, 3, 3).mean((1, 3))
    np.testing.assert_allclose(resized.numpy(), blocks, rtol=1e-5)


@pytest.mark.parametrize(("half_pixel_centers", "a"), [(False, -0.75), (True, -0.5)])
def test_bicubic_has_keys_kernel(half_pixel_centers, a):
    """Half way between two pixels, Keys' kernel weighs the neighbors (a/8, 1/2 - a/8, ...)."""
    line = np.array([0, 0, 0, 80, 0, 0, 0, 0], np.float32)
    pixels = np.broadcast_to(line[:, None, None], (8, 8, 3))
    resized = resize(
        tf.constant(pixels), (16, 8), "bicubic", half_pixel_centers=half_pixel_centers
    ).numpy()[:, 0, 0]
    if half_pixel_centers:  # samples lie a quarter off the pixels

        def weight(distance):
            d = abs(distance)
            if d <= 1:
                return (a + 2) * d**3 - (a + 3) * d**2 + 1
            return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0

        expected = [80 * weight(y / 2 - 0.25 - 3) for y in range(16)]
    else:
        far, near = a / 8, 0.5 - a / 8
        expected = [0, 0, 0, 80 * far, 0, 80 * near, 80, 80 * near, 0, 80 * far, *[0] * 6]
    np.testing.assert_allclose(resized[2:14], expected[2:14], atol=0.05)


@pytest.mark.parametrize(
    ("half_pixel_centers", "lowest"), [(False, -0.75 / 8), (True, -0.5 * 9 / 64)]
)
def test_bicubic_undershoots_an_impulse_as_published(half_pixel_centers, lowest):
    """-0.0938 and -0.0703: Keys' kernel at 1.5 with a = -0.75, at 1.25 with a = -0.5."""
    line = np.zeros((8, 4, 3), np.float32)
    line[4] = 1
    resized = resize(
        tf.constant(line), (16, 4), "bicubic", half_pixel_centers=half_pixel_centers
    ).numpy()
    assert resized.min() == pytest.approx(lowest, abs=1e-6)


def test_bilinear_grids_differ_by_what_was_published():
    """Halving a ramp: the corner grid takes every other value, the other the mean of two."""
    ramp = tf.constant(np.arange(16, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3)))
    legacy, tf2 = (
        resize(ramp, (8, 2), "bilinear", half_pixel_centers=half).numpy()[:, 0, 0]
        for half in (False, True)
    )
    np.testing.assert_allclose(legacy, np.arange(0, 16, 2))
    np.testing.assert_allclose(tf2, np.arange(0, 16, 2) + 0.5)


@pytest.mark.parametrize("half_pixel_centers", [False, True])
@pytest.mark.parametrize("method", FLAGS["resize_method"].choices)
@pytest.mark.parametrize("shape", [(1, 1), (1, 100), (100, 3), (64, 64)])
def test_a_constant_image_stays_constant(method, shape, half_pixel_centers):
    pixels = tf.fill([*shape, 3], tf.constant(201, tf.uint8))
    for position in range(4):
        resized = resize(
            pixels,
            (40, 30),
            method,
            position=tf.constant(position, tf.int64),
            half_pixel_centers=half_pixel_centers,
        )
        assert resized.shape == (40, 30, 3)
        # Area and bicubic sum float32 weights; the two others must be exact.
        tolerance = 1e-5 if method in ("area", "bicubic", "round_robin") else 0
        np.testing.assert_allclose(resized.numpy(), 201, rtol=tolerance)


def test_round_robin_takes_the_methods_in_turn():
    pixels = tf.constant(image(50, 40))
    for position in range(8):
        resized = resize(
            pixels,
            (16, 16),
            "round_robin",
            position=tf.constant(position, tf.int64),
            half_pixel_centers=False,
        )
        single = resize(
            pixels, (16, 16), FLAGS["resize_method"].choices[position % 4], half_pixel_centers=False
        )
        np.testing.assert_array_equal(resized.numpy(), single.numpy())
