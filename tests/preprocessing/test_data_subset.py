"""Training on the split that --data_subset names, whatever the data set."""

from __future__ import annotations

import re

import numpy as np
import pytest

import train
from benchmark_cnn.params.data_params import DataParams
from download_and_convert_imagenet.records.manifest import Manifest, Shard, write_manifest
from preprocessing.registry import open_dataset
from tests.preprocessing.image_shards import example, numbered_image, write_split

LABELS = {"train": (1, 2, 3, 4), "validation": (7, 8, 9, 10, 10, 10)}


@pytest.fixture
def data_dir(tmp_path):
    """Two splits without a common label, with a manifest of ten classes."""
    shards = {}
    for split, labels in LABELS.items():
        examples = [example(numbered_image(n), label) for n, label in enumerate(labels)]
        (path,) = write_split(tmp_path, split, examples, 1)
        shards[split] = (Shard(path.name, len(labels), path.stat().st_size, ""),)
    write_manifest(tmp_path, Manifest("digits", ("x",) * 10, shards))
    return tmp_path


@pytest.mark.parametrize("name", ["cifar10", "digits", "folder"])
@pytest.mark.parametrize("subset", ["train", "validation"])
def test_training_reads_the_subset(data_dir, name, subset):
    dataset = open_dataset(DataParams(data_dir=str(data_dir), data_name=name))
    num_examples = dataset.num_examples(subset)
    batches = dataset.train_batches(
        batch_size=num_examples, image_size=8, seed=1, subset=subset, start_example=num_examples
    )
    _, labels = next(iter(batches))
    assert sorted(labels.numpy() + 1) == list(LABELS[subset])


def test_synthetic_images_take_either_subset():
    streams = [
        open_dataset(DataParams(data_name="imagenet")).train_batches(
            batch_size=2, image_size=4, seed=1, subset=subset
        )
        for subset in LABELS
    ]
    (first, _), (second, _) = (next(iter(stream)) for stream in streams)
    np.testing.assert_array_equal(first, second)


def test_the_command_trains_on_the_subset(data_dir, capsys):
    """One epoch of the validation split, where there is no training split to read."""
    next(data_dir.glob("train-*")).unlink()
    argv = ["--device=cpu", "--model=lenet", "--batch_size=2", f"--data_dir={data_dir}"]
    assert train.main([*argv, "--data_subset=validation", "--num_epochs=1"]) == 0
    assert re.search(r"Num batches: +3\n", capsys.readouterr().out)
    assert train.main([*argv, "--num_epochs=1"]) == 3
    assert "no train shards" in capsys.readouterr().err
