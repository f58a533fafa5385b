from __future__ import annotations

import numpy as np
import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from preprocessing.images import views as small_images
from preprocessing.images.views import cifar_train_image, digit_train_image, whole_eval_image
from preprocessing.records.examples import Example
from tests.preprocessing.image_shards import encode

POSITION = np.int64(0)
DATA = DataParams()


def example(pixels):
    encoded = encode(np.asarray(pixels, np.uint8), "PNG")
    return Example(tf.constant(encoded), tf.constant(0), tf.zeros([0, 4]))


def seed(number):
    return tf.constant([number, 1], tf.int64)


def test_a_digit_that_is_not_moved_is_the_resized_image(monkeypatch):
    monkeypatch.setattr(small_images, "_MIN_SIDE", 1.0)
    monkeypatch.setattr(small_images, "_MAX_SIDE", 1.0 + 1e-7)
    monkeypatch.setattr(small_images, "_MAX_SHIFT", 1e-7)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    same_size = digit_train_image(DATA, example(pixels), 8, seed(0), POSITION).numpy()
    np.testing.assert_array_equal(same_size, pixels)
    half = digit_train_image(DATA, example(pixels), 4, seed(0), POSITION).numpy()
    blocks = pixels.reshape(4, 2, 4, 2, 3).mean((1, 3))  # samples lie between four pixels
    assert np.abs(half - blocks).max() <= 0.51


def center_of_mass(image):
    weights = image.astype(float).sum(-1)
    rows, columns = np.indices(weights.shape) + 0.5
    return np.array([(rows * weights).sum(), (columns * weights).sum()]) / weights.sum()


def test_digits_move_within_their_limits_and_change_size():
    pixels = np.zeros((40, 40, 3))
    pixels[16:24, 16:24] = 255  # a square of 8 in the center
    views = [
        digit_train_image(DATA, example(pixels), 40, seed(n), POSITION).numpy() for n in range(200)
    ]
    offsets = np.array([center_of_mass(view) - 20 for view in views])
    # A shift of 6% of 40 pixels, seen through a window of at least 0.9 of the image.
    assert np.abs(offsets).max() <= 0.06 * 40 / 0.9 + 0.1
    assert offsets.max() > 2
    assert offsets.min() < -2
    sides = np.sqrt([view.astype(float).mean() * 1600 / 255 for view in views])
    assert sides.max() <= 8 / 0.9 + 0.1
    assert sides.min() >= 8 / 1.2 - 0.1
    assert sides.max() - sides.min() > 1.5


def test_digits_are_never_mirrored():
    """An L keeps its foot to the right."""
    pixels = np.zeros((32, 32, 3))
    pixels[6:26, 10:14] = 255
    pixels[22:26, 10:24] = 255
    for number in range(50):
        view = digit_train_image(DATA, example(pixels), 32, seed(number), POSITION).numpy()
        foot, top = view[20:].astype(float).sum((0, 2)), view[:16].astype(float).sum((0, 2))
        columns = np.arange(32)
        assert (foot * columns).sum() / foot.sum() > (top * columns).sum() / top.sum() + 2


def test_cifar_views_are_windows_of_the_padded_image():
    pixels = np.random.default_rng(1).integers(1, 256, (32, 32, 3)).astype(np.uint8)
    padded = np.pad(pixels, ((4, 4), (4, 4), (0, 0)))
    windows = {
        (y, x, mirrored): padded[y : y + 32, x : x + 32][:, :: -1 if mirrored else 1]
        for y in range(9)
        for x in range(9)
        for mirrored in (False, True)
    }
    found = set()
    for number in range(60):
        view = cifar_train_image(DATA, example(pixels), 32, seed(number), POSITION).numpy()
        matches = [key for key, window in windows.items() if np.array_equal(view, window)]
        assert len(matches) == 1
        found.add(matches[0])
    assert len({key[0] for key in found}) > 5
    assert {key[2] for key in found} == {False, True}


def test_evaluation_sees_the_whole_image():
    pixels = np.random.default_rng(2).integers(0, 256, (32, 32, 3))
    view = whole_eval_image(example(pixels), 32, POSITION)
    np.testing.assert_array_equal(view.numpy(), pixels)
    doubled = whole_eval_image(example(pixels), 16, POSITION).numpy()
    blocks = pixels.reshape(16, 2, 16, 2, 3).mean((1, 3))
    np.testing.assert_allclose(doubled, blocks, atol=1e-3)
