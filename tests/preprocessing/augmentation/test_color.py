from __future__ import annotations

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from preprocessing.augmentation import policies
from preprocessing.augmentation.policies import distort_color


def distort(pixels, number, position):
    seed = tf.constant([number, 3], tf.int64)
    return distort_color(
        tf.constant(pixels, tf.float32), seed, tf.constant(position, tf.int64)
    ).numpy()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).uniform(0, 255, (12, 10, 3)).astype(np.float32)


def test_result_stays_in_range_and_differs(pixels):
    results = [distort(pixels, number, number % 2) for number in range(20)]
    assert all(r.min() >= 0 and r.max() <= 255 for r in results)
    assert len({r.tobytes() for r in results}) == 20


def test_depends_on_seed_and_position_alone(pixels):
    first = distort(pixels, 4, 6)
    tf.random.set_seed(99)
    np.testing.assert_array_equal(first, distort(pixels, 4, 6))
    np.testing.assert_array_equal(first, distort(pixels, 4, 8))


def numpy_distortion(pixels, factors, order):
    """The four changes by their definitions: hue and saturation in HSV, contrast about the mean."""
    image = np.clip(pixels / 255 + factors["brightness"], -10, 10)
    for name in order:
        if name == "contrast":
            mean = image.mean((0, 1))
            image = (image - mean) * factors["contrast"] + mean
            continue
        hsv = np.array([[colorsys.rgb_to_hsv(*rgb) for rgb in row] for row in image])
        if name == "saturation":
            hsv[..., 1] = np.clip(hsv[..., 1] * factors["saturation"], 0, 1)
        else:
            hsv[..., 0] = (hsv[..., 0] + factors["hue"]) % 1
        image = np.array([[colorsys.hsv_to_rgb(*each) for each in row] for row in hsv])
    return np.clip(image, 0, 1) * 255


@pytest.mark.parametrize(
    ("position", "order"),
    [(0, ("saturation", "hue", "contrast")), (1, ("contrast", "saturation", "hue"))],
)
def test_order_alternates_with_the_position(position, order, monkeypatch):
    """With ranges narrowed to one value each, the result is known in closed form."""
    monkeypatch.setattr(policies, "MAX_BRIGHTNESS_CHANGE", 1e-6)
    monkeypatch.setattr(policies, "SATURATION_FACTORS", (0.6, 0.6 + 1e-6))
    monkeypatch.setattr(policies, "MAX_HUE_CHANGE", 1e-6)
    monkeypatch.setattr(policies, "CONTRAST_FACTORS", (0.5, 0.5 + 1e-6))
    # Mid grays with some color: neither order clips, and the two differ by several levels.
    pixels = np.random.default_rng(1).uniform(60, 190, (6, 5, 3)).astype(np.float32)
    factors = {"brightness": 0.0, "saturation": 0.6, "hue": 0.0, "contrast": 0.5}
    expected = numpy_distortion(pixels, factors, order)
    other = numpy_distortion(pixels, factors, order[1:] + order[:1])
    result = distort(pixels, 1, position)
    np.testing.assert_allclose(result, expected, atol=0.02)
    assert np.abs(other - expected).max() > 0.5


def test_range_of_contrast():
    """Two grays 40 levels apart end up 20 to 60 apart, whatever the brightness."""
    pixels = np.full((2, 2, 3), 100.0, np.float32)
    pixels[0] += 40
    results = [distort(pixels, number, number % 2) for number in range(300)]
    differences = np.array([result[0, 0, 0] - result[1, 0, 0] for result in results])
    assert 19.99 <= differences.min() < 22
    assert 58 < differences.max() <= 60.01


def test_ranges_of_hue_and_saturation():
    """On one color, contrast does nothing, and brightness adds to all channels alike."""
    pixels = np.full((2, 2, 3), (150, 120, 90), np.float32)
    hue = colorsys.rgb_to_hsv(150, 120, 90)[0]
    results = np.array([distort(pixels, number, number % 2)[0, 0] for number in range(300)]) / 255
    hsv = np.array([colorsys.rgb_to_hsv(*result) for result in results])
    shifts = (hsv[:, 0] - hue + 0.5) % 1 - 0.5
    assert -0.2001 <= shifts.min() < -0.19
    assert 0.19 < shifts.max() <= 0.2001
    # The value is the brightest channel: without a change of saturation, 60 / 255 below it is the
    # darkest one.
    factors = hsv[:, 1] / (60 / 255 / hsv[:, 2])
    assert 0.4999 <= factors.min() < 0.52
    assert 1.48 < factors.max() <= 1.5001


def test_range_of_brightness():
    """Gray has no hue and no saturation, one gray no contrast: brightness alone acts."""
    pixels = np.full((4, 4, 3), 102.0, np.float32)
    changes = np.array([distort(pixels, n, 0)[0, 0, 0] for n in range(400)]) - 102
    assert np.abs(changes).max() <= 32.001
    assert changes.max() > 28
    assert changes.min() < -28


def test_a_white_image_cannot_leave_the_range():
    white = np.full((4, 4, 3), 255.0, np.float32)
    for number in range(20):
        assert 255 - 32.001 <= distort(white, number, number).min() <= 255
