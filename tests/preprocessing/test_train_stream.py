"""The training stream over real shards: order, resumption, sharding, borders of epochs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.autograph.impl import api as autograph

from common.errors import DataError
from tests.preprocessing.image_shards import (
    encode,
    example,
    numbers_of,
    open_imagenet,
    photographs,
    write_numbered_split,
    write_split,
)

NUM_EXAMPLES = 150


@pytest.fixture(scope="module")
def numbered_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("numbered")
    write_numbered_split(directory, "train", NUM_EXAMPLES, num_shards=5)
    return directory


@pytest.fixture(scope="module")
def photo_dir(tmp_path_factory):
    """40 photographs with distinct labels."""
    directory = tmp_path_factory.mktemp("photographs")
    boxes = [[(0.1, 0.2, 0.9, 0.8)], [], [(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.00001, 1.0)]]
    examples = [
        example(encoded, 1 + number, boxes[number % 3])
        for number, encoded in enumerate(photographs(40))
    ]
    write_split(directory, "train", examples, num_shards=3)
    return directory


def read(directory, num_batches, batch_size=1, image_size=4, **options):
    """(images, labels) of a stretch of the stream, batches joined."""
    names = ("seed", "start_example", "shard")
    stream = {name: options.pop(name) for name in names if name in options}
    dataset = open_imagenet(directory, **options)
    batches = dataset.train_batches(
        batch_size=batch_size, image_size=image_size, **{"seed": 1, **stream}
    )
    images, labels = zip(*itertools.islice(batches.as_numpy_iterator(), num_batches), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def read_numbers(directory, num_examples, **options):
    images, labels = read(directory, num_examples, **options)
    numbers = numbers_of(images)
    assert labels.tolist() == [number % 1000 for number in numbers]
    return numbers


def test_every_epoch_holds_every_example_once_in_its_own_order(numbered_dir):
    numbers = read_numbers(numbered_dir, 3 * NUM_EXAMPLES)
    epochs = [numbers[i : i + NUM_EXAMPLES] for i in range(0, 3 * NUM_EXAMPLES, NUM_EXAMPLES)]
    assert all(sorted(epoch) == list(range(NUM_EXAMPLES)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != list(range(NUM_EXAMPLES))


@pytest.mark.parametrize("shuffle_buffer", [1, 20, 1000])
def test_order_is_a_function_of_the_seed_alone(numbered_dir, shuffle_buffer):
    options = {"shuffle_buffer": shuffle_buffer}
    tf.random.set_seed(1)
    first = read_numbers(numbered_dir, 200, seed=7, **options)
    tf.random.set_seed(2)
    assert read_numbers(numbered_dir, 200, seed=7, num_data_threads=1, **options) == first
    assert read_numbers(numbered_dir, 200, seed=8, **options) != first


def test_small_shuffle_buffer_mixes_locally(numbered_dir):
    """With a buffer of one record the order is that of the interleaved files, not shuffled."""
    numbers = read_numbers(numbered_dir, NUM_EXAMPLES, shuffle_buffer=1)
    blocks = [numbers[i : i + 2] for i in range(0, NUM_EXAMPLES, 2)]
    assert all(second == first + 1 for first, second in blocks)


@pytest.mark.parametrize("batch_size", [1, 8, 16, 150, 400])
def test_batch_size_does_not_change_the_stream(numbered_dir, batch_size):
    expected = read_numbers(numbered_dir, 400)
    images, _ = read(numbered_dir, 400 // batch_size, batch_size=batch_size)
    numbers = numbers_of(images)
    assert numbers == expected[: len(numbers)]
    assert len(numbers) == 400 // batch_size * batch_size


PHOTO_OPTIONS = [
    {"train_crop": "inception", "augment": "color"},
    {"train_crop": "efficientnet"},
    {"train_crop": "inception", "resize_method": "round_robin"},
    {"train_crop": "efficientnet", "augment": "autoaugment"},
    {"augment": "randaugment", "randaugment_num_layers": 1, "randaugment_magnitude": 9},
]


@pytest.fixture(scope="module", params=PHOTO_OPTIONS, ids=str)
def unbroken(request, photo_dir):
    return request.param, *read(photo_dir, 130, image_size=16, **request.param)


@pytest.mark.parametrize("start", [1, 17, 39, 40, 41, 100])
def test_start_example_skips_exactly(photo_dir, unbroken, start):
    """Mid-epoch, at the border of an epoch (40 examples) and beyond: the same pixels."""
    options, images, labels = unbroken
    resumed_images, resumed_labels = read(
        photo_dir, 60 if start < 70 else 30, image_size=16, start_example=start, **options
    )
    end = start + len(resumed_labels)
    np.testing.assert_array_equal(resumed_labels, labels[start:end])
    np.testing.assert_array_equal(resumed_images, images[start:end])


def test_augmentation_differs_between_epochs_and_seeds(photo_dir):
    images, labels = read(photo_dir, 80, image_size=16)
    first = dict(zip(labels[:40].tolist(), images[:40], strict=True))
    second = dict(zip(labels[40:].tolist(), images[40:], strict=True))
    assert sorted(first) == sorted(second) == list(range(40))
    assert sum(np.array_equal(first[n], second[n]) for n in range(40)) == 0
    other_images, other_labels = read(photo_dir, 40, image_size=16, seed=2)
    other = dict(zip(other_labels.tolist(), other_images, strict=True))
    assert sum(np.array_equal(first[n], other[n]) for n in range(40)) == 0


def test_one_image_looks_different_in_every_epoch(tmp_path):
    """One example: its place in the epoch is always 0, so the epoch alone makes the difference."""
    write_split(tmp_path, "train", [example(photographs(1)[0], 1)], 1)
    images, _ = read(tmp_path, 20, image_size=16)
    assert len({image.tobytes() for image in images}) == 20


def test_one_file_is_shuffled_again_in_every_epoch(tmp_path):
    write_numbered_split(tmp_path, "train", 30, num_shards=1)
    numbers = read_numbers(tmp_path, 90)
    assert len({tuple(numbers[i : i + 30]) for i in (0, 30, 60)}) == 3


def test_every_view_shows_part_of_the_labeled_object(tmp_path):
    """A red object in the upper right corner; no crop that has a tenth of it can miss it."""
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[:40, 160:, 0] = 255
    boxed = example(encode(pixels, "PNG"), 1, boxes=[(0.0, 0.8, 0.2, 1.0)])
    write_split(tmp_path, "train", [boxed], 1)
    images, _ = read(tmp_path, 60, image_size=64)
    assert (images[..., 0].max((1, 2)) > 128).all()


def test_half_of_the_images_are_mirrored(tmp_path):
    """Dark on the left, bright on the right, or the other way round after a flip."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    write_split(tmp_path, "train", [example(encode(pixels), 1)] * 50, 1)
    images, _ = read(tmp_path, 400, image_size=8, train_crop="efficientnet")
    left, right = images[:, :, :4].mean((1, 2, 3)), images[:, :, 4:].mean((1, 2, 3))
    both_sides = np.abs(left - right) > 10
    share = (left > right)[both_sides].mean()
    assert abs(share - 0.5) < 4 * np.sqrt(0.25 / both_sides.sum())


def test_shards_of_workers_are_disjoint_and_complete(numbered_dir):
    """Five files over two workers: files 0, 2, 4 (90 examples) and 1, 3 (60)."""
    ours = read_numbers(numbered_dir, 90, shard=(0, 2))
    theirs = read_numbers(numbered_dir, 60, shard=(1, 2))
    assert sorted(ours) == [*range(30), *range(60, 90), *range(120, 150)]
    assert sorted(theirs) == [*range(30, 60), *range(90, 120)]


def test_a_worker_resumes_in_its_own_share(numbered_dir):
    stream = read_numbers(numbered_dir, 200, shard=(1, 2))
    assert read_numbers(numbered_dir, 100, shard=(1, 2), start_example=100) == stream[100:]


def test_workers_draw_differently(tmp_path):
    """The same photograph in two files: two workers see two views of it."""
    (encoded,) = photographs(1)
    write_split(tmp_path, "train", [example(encoded, 1)] * 2, num_shards=2)
    ours, _ = read(tmp_path, 1, image_size=16, shard=(0, 2))
    theirs, _ = read(tmp_path, 1, image_size=16, shard=(1, 2))
    assert not np.array_equal(ours, theirs)


def test_more_workers_than_shards(numbered_dir):
    with pytest.raises(DataError, match="has 5 train shards, too few for 6 workers"):
        read(numbered_dir, 1, shard=(0, 6))


def test_cached_sample_repeats_its_records(tmp_path):
    write_numbered_split(tmp_path, "train", 30, num_shards=2)
    numbers = read_numbers(tmp_path, 2048, datasets_repeat_cached_sample=True)
    assert numbers[:1024] == numbers[1024:]


def test_shapes_and_types(photo_dir):
    dataset = open_imagenet(photo_dir)
    images, labels = dataset.train_batches(batch_size=6, image_size=20, seed=1).element_spec
    assert images.shape == (6, 20, 20, 3)
    assert images.dtype == tf.uint8
    assert labels.shape == (6,)
    assert labels.dtype == tf.int32


@pytest.mark.parametrize("start", [0, 37, NUM_EXAMPLES + 120])
def test_records_are_named_without_being_read(numbered_dir, start):
    """Over a border of epochs, too: each record named holds the image that the stream has there."""
    count = 60
    numbers = read_numbers(numbered_dir, count, start_example=start, shuffle_buffer=20)
    dataset = open_imagenet(numbered_dir, shuffle_buffer=20)
    named = dataset.records_of(start_example=start, count=count, seed=1)
    labels = {
        path: [
            tf.train.Example.FromString(record.numpy())
            .features.feature["image/class/label"]
            .int64_list.value[0]
            for record in tf.data.TFRecordDataset(path)
        ]
        for path in {path for path, _ in named}
    }
    assert [labels[path][index] - 1 for path, index in named] == list(numbers)


def test_autograph_rewrites_no_function_of_the_streams(photo_dir, monkeypatch):
    """Rewriting them took 1.3 s of every start, and changes nothing."""
    rewritten, rewrite = [], autograph._convert_actual

    def note(entity, *arguments):
        rewritten.append(getattr(entity, "__name__", ""))
        return rewrite(entity, *arguments)

    monkeypatch.setattr(autograph, "_convert_actual", note)
    tf.function(identity)(1)
    read(photo_dir, 1)
    batches = open_imagenet(photo_dir).eval_batches(batch_size=1, image_size=4, subset="train")
    next(iter(batches))
    functions = {"to_image", "parse_example", "decode_window", "one_epoch", "plain_reader"}
    assert "identity" in rewritten
    assert not functions & set(rewritten)


def identity(value):
    return value
