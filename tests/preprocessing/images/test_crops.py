"""Windows against values worked out by hand from the recipes' formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from preprocessing.images.crops import (
    central_fraction_window,
    efficientnet_train_window,
    eval_window,
    inception_train_window,
    padded_center_window,
    vgg_resized_shape,
)

NO_BOXES = np.zeros((0, 4), np.float32)  # a tensor here would start TensorFlow too early


def sides(height, width):
    return tf.constant(height), tf.constant(width)


def seed(number):
    return tf.constant([number, 7], tf.int64)


@pytest.mark.parametrize(
    ("height", "width", "image_size", "expected"),
    [
        # 224/256 of 375 is 328.125; (375 - 328 + 1) // 2 = 24; (500 - 328 + 1) // 2 = 86.
        (375, 500, 224, [24, 86, 328, 328]),
        (500, 375, 224, [86, 24, 328, 328]),
        # 224/256 of 256 is 224 exactly; (256 - 224 + 1) // 2 = 16.
        (256, 256, 224, [16, 16, 224, 224]),
        # 300/332 of 400 is 361.4; (400 - 361 + 1) // 2 = 20; (2000 - 361 + 1) // 2 = 820.
        (400, 2000, 300, [20, 820, 361, 361]),
        # 240/272 of 272 is 240 in exact arithmetic; so it is in float32.
        (272, 300, 240, [16, 30, 240, 240]),
        (10, 10, 224, [1, 1, 8, 8]),
        (1, 100, 224, [0, 50, 1, 1]),
        # 0.875 of one row is none: one is the least.
        (1, 1, 224, [0, 0, 1, 1]),
        (1, 500, 224, [0, 250, 1, 1]),
        (500, 1, 224, [250, 0, 1, 1]),
    ],
)
def test_efficientnet_eval_crop(height, width, image_size, expected):
    assert padded_center_window(*sides(height, width), image_size).numpy().tolist() == expected


@pytest.mark.parametrize(
    ("height", "width", "image_size", "fraction", "expected"),
    [
        # The paddings of the five EfficientNet-Lite sizes: a seventh of each, rounded.
        # 224 / 256 of 375 is 328.1, as with 32 pixels.
        (375, 500, 224, 0.875, [24, 86, 328, 328]),
        # 240 / (240 + 34) of 1000 is 875.9; (1000 - 875 + 1) // 2 = 63.
        (1000, 1200, 240, 0.875, [63, 163, 875, 875]),
        # 260 / (260 + 37) of 3000 is 2626.3; (3000 - 2626 + 1) // 2 = 187.
        (3000, 4000, 260, 0.875, [187, 687, 2626, 2626]),
        # 280 / (280 + 40) of 400 is 350.
        (2000, 400, 280, 0.875, [825, 25, 350, 350]),
        # 300 / (300 + 43) of 1000 is 874.6; (1000 - 874 + 1) // 2 = 63.
        (1000, 1000, 300, 0.875, [63, 63, 874, 874]),
        # 280 / (280 + 30) of 1000 is 903.2; with a fraction of one the whole shorter side is left.
        (1000, 1000, 280, 0.904, [49, 49, 903, 903]),
        (375, 500, 224, 1.0, [0, 63, 375, 375]),
        (1, 500, 224, 0.875, [0, 250, 1, 1]),
        (1, 1, 300, 0.875, [0, 0, 1, 1]),
    ],
)
def test_efficientnet_eval_crop_by_a_fraction(height, width, image_size, fraction, expected):
    window = eval_window("efficientnet", *sides(height, width), image_size, fraction)
    assert window.numpy().tolist() == expected


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        # 1/16 of each side, truncated, is cut from both ends: 375/16 = 23.4; 500/16 = 31.25.
        (375, 500, [23, 31, 329, 438]),
        (500, 375, [31, 23, 438, 329]),
        (256, 256, [16, 16, 224, 224]),
        (15, 33, [0, 2, 15, 29]),
        (1, 1, [0, 0, 1, 1]),
        # A sixteenth of 500 is 31.25.
        (1, 500, [0, 31, 1, 438]),
        (500, 1, [31, 0, 438, 1]),
    ],
)
def test_inception_eval_crop(height, width, expected):
    assert central_fraction_window(*sides(height, width)).numpy().tolist() == expected


@pytest.mark.parametrize(
    ("height", "width", "image_size", "expected"),
    [
        # The shorter side becomes 1.145 * 224 = 256.48, truncated; 500 * 256.48 / 375 = 341.97.
        (375, 500, 224, [256, 341]),
        (500, 375, 224, [341, 256]),
        (100, 100, 224, [256, 256]),
        # 1.145 * 299 = 342.355; 2 * 342.355 = 684.71.
        (333, 666, 299, [342, 684]),
        (1, 1, 224, [256, 256]),
        # 16 * 256.48 = 4103.68.
        (1, 16, 224, [256, 4103]),
    ],
)
def test_vgg_resized_shape(height, width, image_size, expected):
    shape = vgg_resized_shape(*sides(height, width), image_size)
    assert [int(side) for side in shape] == expected


def test_vgg_takes_the_whole_image_unless_it_is_a_line():
    assert eval_window("vgg", *sides(375, 500), 224).numpy().tolist() == [0, 0, 375, 500]
    assert eval_window("vgg", *sides(2, 1000), 224).numpy().tolist() == [0, 484, 2, 32]
    assert eval_window("vgg", *sides(1000, 2), 224).numpy().tolist() == [484, 0, 32, 2]
    assert eval_window("vgg", *sides(1, 1), 224).numpy().tolist() == [0, 0, 1, 1]
    assert eval_window("vgg", *sides(1, 500), 224).numpy().tolist() == [0, 242, 1, 16]


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (256, 256), (60, 400)])
@pytest.mark.parametrize(
    ("choose", "area", "ratio"),
    [
        (inception_train_window, (0.05, 1.0), (0.75, 1.33)),
        (
            lambda *arguments: efficientnet_train_window(*arguments, image_size=224),
            (0.08, 1.0),
            (3 / 4, 4 / 3),
        ),
    ],
)
def test_training_windows_keep_the_recipes_limits(height, width, choose, area, ratio):
    windows = np.array([choose(*sides(height, width), NO_BOXES, seed(n)) for n in range(200)])
    y, x, rows, columns = windows.T
    assert (y >= 0).all()
    assert (x >= 0).all()
    assert (y + rows <= height).all()
    assert (x + columns <= width).all()
    drawn = ~((rows == height) & (columns == width))
    drawn &= ~(
        (rows == columns) & (y == (height - rows + 1) // 2) & (x == (width - columns + 1) // 2)
    )
    assert drawn.sum() > 100
    # Sides are rounded to whole pixels: one pixel of slack.
    assert ((rows + 1) * (columns + 1) >= area[0] * height * width)[drawn].all()
    assert ((columns + 1) / rows >= ratio[0])[drawn].all()
    assert (columns / (rows + 1) <= ratio[1])[drawn].all()
    assert len(np.unique(windows, axis=0)) > 100


def test_inception_crop_shows_part_of_the_box():
    """Of a box in the lower right corner a tenth must be seen: no window may miss it."""
    box = tf.constant([[0.8, 0.8, 1.0, 1.0]])
    for number in range(100):
        y, x, rows, columns = inception_train_window(*sides(200, 200), box, seed(number)).numpy()
        seen = max(0, y + rows - 160) * max(0, x + columns - 160)
        assert seen >= 0.1 * 40 * 40 - 80  # a window's border may lie half a pixel off


def test_efficientnet_crop_ignores_boxes():
    box = tf.constant([[0.8, 0.8, 1.0, 1.0]])
    for number in range(10):
        with_box = efficientnet_train_window(*sides(200, 200), box, seed(number), image_size=224)
        without = efficientnet_train_window(
            *sides(200, 200), NO_BOXES, seed(number), image_size=224
        )
        assert with_box.numpy().tolist() == without.numpy().tolist()


def test_efficientnet_crop_falls_back_to_the_center():
    """No window of a 1x100 line has an aspect ratio within 3/4..4/3 and 8% of the area."""
    window = efficientnet_train_window(*sides(1, 100), NO_BOXES, seed(1), image_size=224)
    assert window.numpy().tolist() == [0, 50, 1, 1]


@pytest.mark.parametrize(
    ("height", "width", "inception", "efficientnet"),
    [
        (1, 1, [0, 0, 1, 1], [0, 0, 1, 1]),
        # A window of one row and an aspect ratio of at most 4/3 has one pixel: below 5% and 8%.
        (1, 500, [0, 0, 1, 500], [0, 250, 1, 1]),
        (500, 1, [0, 0, 500, 1], [250, 0, 1, 1]),
    ],
)
def test_training_windows_of_tiny_images(height, width, inception, efficientnet):
    for number in range(5):
        arguments = (*sides(height, width), NO_BOXES, seed(number))
        assert inception_train_window(*arguments).numpy().tolist() == inception
        window = efficientnet_train_window(*arguments, image_size=224)
        assert window.numpy().tolist() == efficientnet


def test_windows_depend_on_the_seed_alone():
    tf.random.set_seed(1)
    first = inception_train_window(*sides(375, 500), NO_BOXES, seed(5))
    tf.random.set_seed(2)
    second = inception_train_window(*sides(375, 500), NO_BOXES, seed(5))
    assert first.numpy().tolist() == second.numpy().tolist()
