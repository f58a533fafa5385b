from __future__ import annotations

import pytest
import tensorflow as tf

from benchmark_cnn.distribution.batches import without_autotune
from preprocessing.integrity.contents import verify_shard
from preprocessing.integrity.record_checks import check_records
from tests.preprocessing.image_shards import open_imagenet, write_numbered_split


@pytest.fixture
def iterated(monkeypatch):
    """The options of every data set that is iterated over."""
    options = []

    def watch(name):
        method = getattr(tf.data.Dataset, name)

        def watched(dataset, *arguments, **keywords):
            options.append(dataset.options())
            return method(dataset, *arguments, **keywords)

        monkeypatch.setattr(tf.data.Dataset, name, watched)

    for name in ("__iter__", "as_numpy_iterator", "reduce"):
        watch(name)
    return options


def test_the_check_of_a_shard_is_not_autotuned(tmp_path, iterated):
    (path,) = write_numbered_split(tmp_path, "train", 10, num_shards=1)
    assert len(list(check_records(path, verify_shard(path), 1000, decode_every=1))) == 10
    assert len(iterated) >= 2
    assert all(options.autotune.enabled is False for options in iterated)


def test_batches_are_not_autotuned_and_keep_their_order(tmp_path):
    write_numbered_split(tmp_path, "train", 10, num_shards=1)
    dataset = open_imagenet(tmp_path, num_data_threads=3)
    shape = {"batch_size": 2, "image_size": 4, "subset": "train"}
    for batches in (dataset.train_batches(**shape, seed=1), dataset.eval_batches(**shape)):
        options = batches.options()
        assert options.autotune.enabled is False
        assert options.deterministic is True
        assert options.threading.private_threadpool_size == 3


def test_other_options_are_kept():
    options = tf.data.Options()
    options.deterministic = False
    dataset = without_autotune(tf.data.Dataset.range(3).with_options(options))
    assert dataset.options().deterministic is False
    assert dataset.options().autotune.enabled is False
