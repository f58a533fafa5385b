"""What each switch of --horizontal_flip, --crop_area and their kin does to training views."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmark_cnn.params.data_params import DataParams
from preprocessing.augmentation import image_ops
from preprocessing.datasets import train_view
from preprocessing.images.crops import train_crop
from preprocessing.records.examples import Example
from tests.preprocessing.image_shards import encode

SIZE = 32
PIXELS = np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
# The whole image in its own size: what is left are the switches.
WHOLE = DataParams(crop_area="1,1", horizontal_flip=False)


def views(data, count=60, name="folder"):
    """Views of PIXELS: uint8 [count, SIZE, SIZE, 3]."""
    train_image = train_view(name, data)
    example = Example(encode(PIXELS, "PNG"), tf.constant(0), tf.zeros([0, 4]))

    def view(number):
        return train_image(example, SIZE, tf.stack([number, number // 7]), number)

    drawn = tf.data.Dataset.range(count).map(view, num_parallel_calls=2).batch(count)
    return next(iter(drawn)).numpy()


def is_same(drawn, pixels):
    return (drawn == pixels).all((1, 2, 3))


@pytest.mark.parametrize(
    ("flags", "outcomes"),
    [
        ({}, [PIXELS]),
        ({"horizontal_flip": True}, [PIXELS, PIXELS[:, ::-1]]),
        ({"horizontal_flip": None}, [PIXELS, PIXELS[:, ::-1]]),
        ({"vertical_flip": True}, [PIXELS, PIXELS[::-1]]),
        (
            {"horizontal_flip": True, "vertical_flip": True},
            [PIXELS, PIXELS[:, ::-1], PIXELS[::-1], PIXELS[::-1, ::-1]],
        ),
    ],
)
def test_flips_give_each_outcome_as_often(flags, outcomes):
    count = 240
    drawn = views(dataclasses.replace(WHOLE, **flags), count)
    found = [is_same(drawn, pixels).sum() for pixels in outcomes]
    assert sum(found) == count
    assert min(found) > count / len(outcomes) * 0.65


def test_data_sets_have_their_own_default_of_the_flip():
    """CIFAR-10 and digits move the image, too: a mirrored gradient has its bright side left."""
    ramp = np.repeat(np.linspace(20, 220, SIZE)[None, :, None], SIZE, 0).repeat(3, 2)
    example = Example(encode(ramp.astype(np.uint8), "PNG"), tf.constant(0), tf.zeros([0, 4]))

    def share_mirrored(name, flip):
        view = train_view(name, DataParams(horizontal_flip=flip))
        middle = np.s_[12:20]
        drawn = [
            view(example, SIZE, tf.constant([n, 4], tf.int64), tf.constant(n, tf.int64)).numpy()
            for n in range(30)
        ]
        return np.mean([v[middle, 8:12].mean() > v[middle, 20:24].mean() for v in drawn])

    assert [share_mirrored("digits", flip) for flip in (None, False)] == [0, 0]
    assert share_mirrored("cifar10", False) == 0
    assert 0.2 < share_mirrored("cifar10", None) < 0.8
    assert 0.2 < share_mirrored("digits", True) < 0.8


def test_grayscale_and_blur_come_with_their_probability():
    count = 300
    gray = np.asarray(Image.fromarray(PIXELS).convert("L").convert("RGB"))
    drawn = views(dataclasses.replace(WHOLE, random_grayscale=0.3), count)
    is_gray = is_same(drawn, gray)
    assert (is_gray | is_same(drawn, PIXELS)).all()
    assert abs(is_gray.mean() - 0.3) < 4.5 * np.sqrt(0.3 * 0.7 / count)
    drawn = views(dataclasses.replace(WHOLE, random_blur=0.3), count)
    # A sigma below 0.2 pixels, one draw in twenty, changes nothing.
    is_blurred = ~is_same(drawn, PIXELS)
    assert abs(is_blurred.mean() - 0.3 * 0.95) < 4.5 * np.sqrt(0.3 * 0.7 / count)
    blurred = drawn[is_blurred].std((1, 2, 3))
    strongest = image_ops.blur(tf.constant(PIXELS), tf.constant(2.0)).numpy().std()
    assert strongest <= blurred.min() < strongest * 1.1  # the largest sigma is reached


def test_rotation_draws_angles_up_to_its_limit():
    limit, count = 40.0, 120
    drawn = views(dataclasses.replace(WHOLE, rotation_degrees=limit), count)
    angles = np.arange(-60, 61, 1.0)
    turned = (
        np.stack(
            [image_ops.rotate_smoothly(tf.constant(PIXELS), tf.constant(float(a))) for a in angles]
        )
        .reshape(len(angles), -1)
        .astype(np.float32)
    )
    flat = drawn.reshape(count, -1).astype(np.float32)
    found = angles[((turned**2).sum(1) - 2 * flat @ turned.T).argmin(1)]
    assert np.abs(found).max() <= limit
    assert found.max() > limit - 6
    assert found.min() < 6 - limit
    assert abs(found.mean()) < 4.5 * limit / np.sqrt(3 * count)


@pytest.mark.parametrize("crop", ["inception", "efficientnet"])
@pytest.mark.parametrize(
    ("area", "ratio"), [((0.02, 0.05), None), ((0.5, 0.8), (1.0, 1.0)), (None, (1.8, 2.2))]
)
def test_crops_keep_their_limits(crop, area, ratio):
    height, width = 300, 400
    flags = {"crop_area": area, "crop_ratio": ratio}
    flags = {name: f"{v[0]},{v[1]}" for name, v in flags.items() if v is not None}
    choose = train_crop(DataParams(train_crop=crop, **flags), 224)
    draw = tf.function(lambda seed: choose(height, width, tf.zeros([0, 4]), seed))
    windows = np.array([draw(tf.constant([n, 1], tf.int64)) for n in range(200)])
    areas, ratios = windows[:, 2] * windows[:, 3] / height / width, windows[:, 3] / windows[:, 2]
    low, high = area or (0.1, 1.0)
    assert low * 0.97 <= areas.min() < low + 0.2 * (high - low)
    assert high - 0.35 * (high - low) < areas.max() <= high * 1.03
    low, high = ratio or (0.75, 4 / 3)
    assert low * 0.97 <= ratios.min() <= ratios.max() <= high * 1.03


def test_views_are_functions_of_the_seed_with_every_switch_on():
    data = DataParams(
        vertical_flip=True,
        rotation_degrees=15.0,
        augment="augmix",
        random_grayscale=0.3,
        random_blur=0.5,
        crop_area="0.3,1",
        crop_ratio="0.5,2",
    )
    first, second = views(data, 24), views(data, 24)
    np.testing.assert_array_equal(first, second)
    assert len({view.tobytes() for view in first}) == 24
