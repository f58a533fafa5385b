"""`--augmentation_repeats`: the order of the copies, their views, and the start in a stream."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark_cnn.params.validation import make_params
from common.errors import UsageError
from tests.preprocessing.image_shards import (
    example,
    open_imagenet,
    photographs,
    write_numbered_split,
    write_split,
)
from tests.preprocessing.test_train_stream import read, read_numbers

NUM_EXAMPLES = 50


@pytest.fixture(scope="module")
def numbered_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("numbered")
    write_numbered_split(directory, "train", NUM_EXAMPLES, num_shards=3)
    return directory


def sampled(order, copies, num_selected):
    """RASampler of torchvision and DeiT, on one process: each index `copies` times in a row."""
    return np.repeat(order, copies)[:num_selected].tolist()


@pytest.mark.parametrize("copies", [3, NUM_EXAMPLES + 1])
def test_the_order_is_that_of_the_sampler(numbered_dir, copies):
    """Every epoch has its own order, and keeps its nominal number of images."""
    plain = np.reshape(read_numbers(numbered_dir, 3 * NUM_EXAMPLES), [3, NUM_EXAMPLES])
    expected = [number for order in plain for number in sampled(order, copies, NUM_EXAMPLES)]
    got = read_numbers(numbered_dir, 3 * NUM_EXAMPLES, augmentation_repeats=copies)
    assert got == expected
    assert open_imagenet(numbered_dir, augmentation_repeats=copies).examples_per_epoch("train") == (
        NUM_EXAMPLES
    )


def test_every_start_is_the_rest_of_the_stream(numbered_dir):
    """Within the copies of an image, and at the cut end of an epoch (50 = 16 x 3 + 2)."""
    whole = read_numbers(numbered_dir, 130, augmentation_repeats=3)
    for start in (1, 49, 50):
        rest = read_numbers(numbered_dir, 20, augmentation_repeats=3, start_example=start)
        assert rest == whole[start : start + 20], start


def test_copies_are_views_of_their_own_and_resume_with_their_pixels(tmp_path):
    examples = [example(encoded, 1 + number) for number, encoded in enumerate(photographs(8))]
    write_split(tmp_path, "train", examples, num_shards=2)
    options = {"augmentation_repeats": 4, "image_size": 16}
    images, labels = read(tmp_path, 16, **options)
    assert len(set(labels[:8].tolist())) == len(set(labels[8:].tolist())) == 2
    for group in range(0, 16, 4):
        assert len(set(labels[group : group + 4].tolist())) == 1
    assert len({image.tobytes() for image in images}) == 16
    for start in (6, 11):
        resumed, of_resumed = read(tmp_path, 16 - start, start_example=start, **options)
        np.testing.assert_array_equal(resumed, images[start:])
        np.testing.assert_array_equal(of_resumed, labels[start:])


def test_a_worker_repeats_its_own_share(numbered_dir):
    """Worker 1 of 2 has the middle file of three, with 17 of the 50 images."""
    plain = read_numbers(numbered_dir, 34, shard=(1, 2))
    expected = sampled(plain[:17], 3, 17) + sampled(plain[17:], 3, 17)
    shard = {"shard": (1, 2), "augmentation_repeats": 3}
    assert read_numbers(numbered_dir, 34, **shard) == expected
    assert read_numbers(numbered_dir, 14, start_example=20, **shard) == expected[20:]


def test_records_of_repeated_images_are_named(numbered_dir):
    start = 37  # over the end of an epoch
    numbers = read_numbers(numbered_dir, 30, start_example=start, augmentation_repeats=3)
    dataset = open_imagenet(numbered_dir, augmentation_repeats=3)
    named = dataset.records_of(start_example=start, count=30, seed=1)
    files = sorted(path.name for path in numbered_dir.iterdir())
    starts = dict(zip(files, (0, 17, 34), strict=True))
    assert [starts[path.rsplit("/", 1)[-1]] + index for path, index in named] == numbers


def test_what_excludes_repeats():
    with pytest.raises(UsageError, match=r"--augmentation_repeats=3 and --balanced_sampling excl"):
        make_params(augmentation_repeats=3, balanced_sampling=True, data_dir="x")
    with pytest.raises(UsageError, match=r"--augmentation_repeats.*the images are synthetic"):
        make_params(augmentation_repeats=3)
