"""`--balanced_sampling` over real shards: counts of an epoch, order, resumption, workers."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from benchmark_cnn import training
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console
from checkpoints import store
from common.errors import DataError, Stopped, UsageError
from preprocessing.records.shards import find_shards
from preprocessing.registry import open_dataset
from tests.benchmark_cnn.networks import ConvNetwork, Spec
from tests.benchmark_cnn.test_resume import stop_at
from tests.preprocessing.image_shards import (
    example,
    numbered_image,
    numbers_of,
    open_imagenet,
    write_split,
)

SIZES = {0: 80, 4: 24, 7: 5, 999: 1}  # label, from 0 -> images: 110 images, 28 of each class drawn
EACH, EPOCH = 28, 112


@pytest.fixture(scope="module")
def labels():
    """The label of each image, in a mixed order."""
    every = np.repeat(list(SIZES), list(SIZES.values()))
    return np.random.default_rng(3).permutation(every)


@pytest.fixture(scope="module")
def directory(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("unbalanced")
    examples = [example(numbered_image(n), 1 + label) for n, label in enumerate(labels)]
    write_split(path, "train", examples, num_shards=5)
    return path


def read(directory, count, **options):
    """The numbers of the images of a stretch of the stream."""
    stream = {name: options.pop(name) for name in ("start_example", "shard") if name in options}
    dataset = open_imagenet(directory, balanced_sampling=True, **options)
    batches = dataset.train_batches(batch_size=1, image_size=4, seed=5, **stream)
    images = [image for image, _ in itertools.islice(batches.as_numpy_iterator(), count)]
    return numbers_of(np.concatenate(images))


@pytest.fixture(scope="module")
def numbers(directory):
    return read(directory, 6 * EPOCH)


def test_every_epoch_draws_each_class_equally_often(directory, labels, numbers):
    assert open_imagenet(directory, balanced_sampling=True).examples_per_epoch("train") == EPOCH
    for first in range(0, 6 * EPOCH, EPOCH):
        drawn = Counter(labels[numbers[first : first + EPOCH]].tolist())
        assert drawn == dict.fromkeys(SIZES, EACH)


@pytest.mark.parametrize("epochs", [1, 3, 6])
def test_no_image_of_a_class_is_drawn_more_than_once_more_than_another(labels, numbers, epochs):
    drawn = Counter(numbers[: epochs * EPOCH])
    for label, size in SIZES.items():
        times = [drawn[n] for n in np.flatnonzero(labels == label)]
        assert len(times) == size
        assert max(times) - min(times) <= 1
        assert sum(times) == epochs * EACH


def test_epochs_differ_and_copies_are_spread(labels, numbers):
    first, second = numbers[:EPOCH], numbers[EPOCH : 2 * EPOCH]
    assert first != second
    places = np.flatnonzero(labels[first] == 999)
    assert places.max() - places.min() > EPOCH / 2
    assert np.diff(places).max() < EPOCH / 2


@pytest.mark.parametrize("start", [1, EPOCH - 1, EPOCH, 3 * EPOCH + 50])
def test_a_stream_that_starts_later_is_the_tail_of_the_stream(directory, numbers, start):
    assert read(directory, 40, start_example=start) == numbers[start : start + 40]


def test_two_workers_draw_together_what_one_draws(directory, labels, numbers):
    """A worker's epochs are those of its own files: of all records as often as one worker's."""
    shards = find_shards(directory, "train")
    dataset = open_imagenet(directory, balanced_sampling=True)
    balance = dataset._balance(shards, 5)  # type: ignore[attr-defined]
    of_all = [Counter(numbers[e * EPOCH : (e + 1) * EPOCH]) for e in range(3)]
    of_both = [Counter() for _ in range(3)]
    for worker in range(2):
        paths = shards.paths[worker::2]
        stream = read(directory, 3 * EPOCH, shard=(worker, 2))
        sizes = []
        for epoch, counter in enumerate(of_both):
            begin = sum(sizes)
            sizes.append(next(n for n in range(400) if balance.place(paths, begin + n)[0] > epoch))
            counter.update(stream[begin : begin + sizes[-1]])
        for start in (3, sizes[0], sum(sizes[:2]) + 5):
            tail = read(directory, 20, start_example=start, shard=(worker, 2))
            assert tail == stream[start : start + 20]
    assert of_both == of_all


def test_the_records_of_a_step_are_named(directory, numbers):
    """Record i of shard s is image 22 s + i."""
    dataset = open_imagenet(directory, balanced_sampling=True)
    names = dataset.records_of(start_example=EPOCH + 9, count=20, seed=5)
    assert [22 * int(path[-14:-9]) + n for path, n in names] == numbers[EPOCH + 9 : EPOCH + 29]


def train(directory, train_dir, towers, on_line=lambda line: None):
    params = make_params(
        device="cpu", data_dir=str(directory), data_name="imagenet", train_dir=str(train_dir),
        balanced_sampling=True, num_gpus=towers, batch_size=16 // towers, num_epochs=3.0,
        display_every=1, learning_rate=0.05, resize_method="nearest", num_warmup_batches=0,
    )  # fmt: skip
    dataset = open_dataset(params.data)
    spec = Spec(lambda: ConvNetwork(num_classes=1000))
    with console.routed_through(on_line):
        training.train(params, spec, dataset)
    return store.read(train_dir)


@pytest.mark.parametrize("towers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_stopped_run_ends_with_the_bits_of_the_unbroken_one(directory, tmp_path, towers):
    """Three epochs of 7 steps; stopped in the second."""
    unbroken = train(directory, tmp_path / "unbroken", towers)
    assert unbroken["global_step"] == 3 * EPOCH / 16
    with pytest.raises(Stopped, match="at step 10 of 21"):
        train(directory, tmp_path / "run", towers, stop_at("10\timages"))
    resumed = train(directory, tmp_path / "run", towers)
    for name, tensor in unbroken.items():
        np.testing.assert_array_equal(resumed[name], tensor, err_msg=name)


def test_what_cannot_be_balanced_is_refused():
    for flags, words in (
        ({"max_corrupt_records": 1}, "--balanced_sampling cannot be used with --max_corrupt_"),
        ({"class_weights": "balanced"}, "both balance the classes"),
        ({"datasets_repeat_cached_sample": True}, "--balanced_sampling has no effect with"),
    ):
        with pytest.raises(UsageError, match=words):
            make_params(data_dir="x", balanced_sampling=True, **flags)
    with pytest.raises(UsageError, match="without --data_dir"):
        make_params(balanced_sampling=True)


def test_damaged_data_are_named(tmp_path):
    write_split(tmp_path, "train", [example(b"\x89PNG", 1001)], num_shards=1)
    with pytest.raises(DataError, match="record 0 has label 1001"):
        open_imagenet(tmp_path, balanced_sampling=True).examples_per_epoch("train")
