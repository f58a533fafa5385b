"""The exact pass over a split: every example once, in order, whatever the batch size."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.preprocessing.image_shards import (
    encode,
    example,
    numbers_of,
    open_imagenet,
    photographs,
    write_numbered_split,
    write_split,
)

NUM_EXAMPLES = 1003


@pytest.fixture(scope="module")
def numbered_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("numbered")
    write_numbered_split(directory, "validation", NUM_EXAMPLES, num_shards=4)
    return directory


@pytest.mark.parametrize("batch_size", [1, 7, 32, 1000, 1003, 1500])
def test_every_example_once_in_the_order_of_the_files(numbered_dir, batch_size):
    dataset = open_imagenet(numbered_dir)
    numbers, masks, num_batches = [], [], 0
    for images, labels, is_real in dataset.eval_batches(batch_size=batch_size, image_size=4):
        assert images.shape == (batch_size, 4, 4, 3)
        assert labels.shape == is_real.shape == (batch_size,)
        real = is_real.numpy()
        found = numbers_of(images.numpy()[real])
        assert labels.numpy()[real].tolist() == [number % 1000 for number in found]
        numbers += found
        masks += real.tolist()
        num_batches += 1
    assert numbers == list(range(NUM_EXAMPLES))
    assert masks == [True] * NUM_EXAMPLES + [False] * (num_batches * batch_size - NUM_EXAMPLES)
    assert num_batches == -(-NUM_EXAMPLES // batch_size)
    assert dataset.num_examples("validation") == NUM_EXAMPLES


@pytest.mark.parametrize("count", [2, 3])
def test_the_shares_of_workers_are_disjoint_and_complete(numbered_dir, count):
    dataset, shares = open_imagenet(numbered_dir), []
    for index in range(count):
        batches = dataset.eval_batches(batch_size=100, image_size=4, shard=(index, count))
        real = [numbers_of(images.numpy()[mask.numpy()]) for images, _, mask in batches]
        shares.append([number for numbers in real for number in numbers])
    # No share is longer than the one that the number of steps is taken from.
    assert max(map(len, shares)) == -(-NUM_EXAMPLES // count)
    assert sorted(number for share in shares for number in share) == list(range(NUM_EXAMPLES))


def test_training_files_can_be_evaluated(tmp_path):
    write_numbered_split(tmp_path, "train", 10, num_shards=2)
    batches = open_imagenet(tmp_path).eval_batches(batch_size=10, image_size=4, subset="train")
    ((images, _, _),) = batches
    assert numbers_of(images) == list(range(10))


def bilinear_corner_grid(pixels, size):
    """Linear interpolation on TensorFlow 1's grid: output n samples at n * input / output."""
    resized = pixels.astype(np.float64)
    for axis, num_out in enumerate(size):
        num_in = resized.shape[axis]
        positions = np.arange(num_out) * (num_in / num_out)
        resized = np.apply_along_axis(
            lambda line, x=positions, n=num_in: np.interp(x, np.arange(n), line), axis, resized
        )
    return resized


def expected_view(pixels, method, size):
    """The published evaluation crops, on whole decoded images, in NumPy."""
    height, width = pixels.shape[:2]
    if method == "vgg":
        scale = size * 1.145 / min(height, width)
        shape = int(height * scale + 1e-6), int(width * scale + 1e-6)
        resized = bilinear_corner_grid(pixels, shape)
        y, x = (shape[0] - size) // 2, (shape[1] - size) // 2
        return resized[y : y + size, x : x + size]
    if method == "inception":
        y, x = int(height / 16), int(width / 16)
        return bilinear_corner_grid(pixels[y : height - y, x : width - x], (size, size))
    side = int(size / (size + 32) * min(height, width))
    y, x = (height - side + 1) // 2, (width - side + 1) // 2
    return bilinear_corner_grid(pixels[y : y + side, x : x + side], (size, size))


@pytest.mark.parametrize("image_size", [24, 224])
@pytest.mark.parametrize("method", ["vgg", "inception", "efficientnet"])
def test_views_against_numpy(tmp_path, method, image_size):
    """Wide, tall, square and very wide images, decoded by Pillow from a lossless format."""
    encoded = [
        encode(np.asarray(Image.open(io.BytesIO(photograph))), "PNG")
        for photograph in photographs(4)
    ]
    write_split(tmp_path, "validation", [example(e, 1) for e in encoded], 1)
    dataset = open_imagenet(tmp_path, eval_method=method)
    ((images, _, _),) = dataset.eval_batches(batch_size=4, image_size=image_size)
    assert images.dtype == tf.float32
    for image, data in zip(images.numpy(), encoded, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        expected = expected_view(pixels, method, image_size)
        # float32 positions: see the tests of resize.
        np.testing.assert_allclose(image, expected, atol=255 * max(pixels.shape) * 2**-22)


@pytest.mark.parametrize("method", ["vgg", "inception", "efficientnet"])
def test_tiny_and_thin_images(tmp_path, method):
    shapes = [(1, 1), (1, 100), (100, 1), (2, 3), (500, 3)]
    images = [encode(np.full((*shape, 3), 90, np.uint8), "PNG") for shape in shapes]
    write_split(tmp_path, "validation", [example(image, 5) for image in images], 1)
    dataset = open_imagenet(tmp_path, eval_method=method)
    ((views, labels, _),) = dataset.eval_batches(batch_size=5, image_size=32)
    np.testing.assert_allclose(views.numpy(), 90)
    assert labels.numpy().tolist() == [4] * 5


def test_the_kernels_of_tensorflow_2_can_be_asked_for(tmp_path):
    """Four columns to two: the corner grid samples columns 0 and 2, the other averages pairs."""
    columns = np.array([0, 100, 40, 200], np.uint8)
    pixels = np.broadcast_to(columns[None, :, None], (4, 4, 3))
    write_split(tmp_path, "validation", [example(encode(pixels, "PNG"), 1)], 1)
    views = {}
    for kernels in ("legacy", "tf2"):
        dataset = open_imagenet(tmp_path, eval_method="inception", resize_kernels=kernels)
        ((images, _, _),) = dataset.eval_batches(batch_size=1, image_size=2)
        views[kernels] = images.numpy()[0, 0, :, 0].tolist()
    assert views == {"legacy": [0, 40], "tf2": [50, 120]}
