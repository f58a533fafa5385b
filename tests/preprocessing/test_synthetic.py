from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from preprocessing.registry import open_dataset
from preprocessing.synthetic import synthetic_batch


def test_pixels_are_a_truncated_normal():
    """Mean 127; cut off at two standard deviations, which leaves 0.8796 of one: 52.78."""
    images, labels = synthetic_batch(16, 64, 1000, seed=3)
    assert images.dtype == tf.uint8
    assert labels.dtype == tf.int32
    pixels = images.numpy().astype(float)
    count = pixels.size
    density, mass = math.exp(-2) / math.sqrt(2 * math.pi), math.erf(2 / math.sqrt(2))
    expected_std = 60 * math.sqrt(1 - 4 * density / mass)
    assert abs(pixels.mean() - 127) < 4 * expected_std / math.sqrt(count)
    assert abs(pixels.std() - expected_std) < 0.2
    assert pixels.min() == 127 - 120
    assert pixels.max() == 127 + 120


def test_labels_cover_the_classes():
    _, labels = synthetic_batch(2000, 1, 10, seed=1)
    counts = np.bincount(labels.numpy(), minlength=10)
    assert len(counts) == 10
    assert counts.min() > 200 - 4 * math.sqrt(200)


def test_a_batch_is_a_function_of_seed_and_tower():
    first = synthetic_batch(2, 8, 10, seed=1, tower=0)
    tf.random.set_seed(5)
    again = synthetic_batch(2, 8, 10, seed=1, tower=0)
    np.testing.assert_array_equal(first[0], again[0])
    for other in (synthetic_batch(2, 8, 10, seed=1, tower=1), synthetic_batch(2, 8, 10, seed=2)):
        assert not np.array_equal(first[0], other[0])


def test_training_hands_out_one_batch_for_ever():
    dataset = open_dataset(DataParams())
    assert dataset.synthetic
    assert (dataset.name, dataset.num_classes) == ("imagenet", 1000)
    batches = list(dataset.train_batches(batch_size=4, image_size=8, seed=1).take(3))
    expected = synthetic_batch(4, 8, 1000, seed=1)
    for images, labels in batches:
        np.testing.assert_array_equal(images, expected[0])
        np.testing.assert_array_equal(labels, expected[1])


def test_start_example_is_honored():
    def labels(start):
        batches = open_dataset(DataParams()).train_batches(
            batch_size=4, image_size=2, seed=1, start_example=start
        )
        return np.concatenate([batch[1] for batch in batches.take(4)])

    np.testing.assert_array_equal(labels(6)[:8], labels(0)[6:14])


def test_evaluation_counts_as_the_real_set_does():
    dataset = open_dataset(DataParams(data_name="cifar10"))
    assert dataset.num_classes == 10
    assert dataset.num_examples("train") == 50_000
    masks = [mask.numpy() for _, _, mask in dataset.eval_batches(batch_size=3000, image_size=1)]
    assert [mask.sum() for mask in masks] == [3000, 3000, 3000, 1000]
    assert masks[-1][:1000].all()
