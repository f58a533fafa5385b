from __future__ import annotations

import io
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

from download_and_convert_imagenet.digits import convert_digits, split_indices
from download_and_convert_imagenet.records.manifest import read_manifest


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data") / "digits"
    convert_digits(directory)
    return directory


def records(directory, split):
    for shard in read_manifest(directory).splits[split]:
        for record in tf.data.TFRecordDataset(str(directory / shard.file)):
            yield tf.train.Example.FromString(record.numpy()).features.feature


def test_split_is_a_stratified_fifth():
    labels = load_digits().target
    splits = split_indices(labels)
    assert sorted(splits["train"] + splits["validation"]) == list(range(1797))
    of_class = Counter(labels.tolist())
    in_validation = Counter(labels[splits["validation"]].tolist())
    for digit in range(10):
        assert abs(in_validation[digit] - of_class[digit] / 5) <= 0.5


def test_manifest_counts_what_the_files_hold(converted):
    manifest = read_manifest(converted)
    assert manifest.num_classes == 10
    assert manifest.num_examples("train") + manifest.num_examples("validation") == 1797
    for split in ("train", "validation"):
        assert sum(1 for _ in records(converted, split)) == manifest.num_examples(split)


def test_every_image_shows_its_digit(converted):
    digits = load_digits()
    seen = []
    for split in ("train", "validation"):
        for features in records(converted, split):
            number = int(features["image/filename"].bytes_list.value[0][6:10])
            seen.append(number)
            label = features["image/class/label"].int64_list.value[0]
            assert label == digits.target[number] + 1
            pixels = np.asarray(
                Image.open(io.BytesIO(features["image/encoded"].bytes_list.value[0]))
            )
            assert pixels.shape == (32, 32, 3)
            shrunk = pixels.astype(float).mean(2).reshape(8, 4, 8, 4).mean((1, 3))
            correlation = np.corrcoef(shrunk.ravel(), digits.images[number].ravel())[0, 1]
            assert correlation > 0.97
    assert sorted(seen) == list(range(1797))


def test_conversion_is_deterministic(converted, tmp_path):
    assert convert_digits(tmp_path / "again") == read_manifest(converted)


def test_what_killed_conversions_left_is_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    running, own = os.getppid(), os.getpid()  # the own number: of the one before in a container
    for name in (f"digits.{dead.pid}", f"digits.{own}", f"digits.{running}", f"other.{dead.pid}"):
        (tmp_path / f".{name}.partial").mkdir()
        (tmp_path / f".{name}.partial" / "train-00000-of-00008").write_bytes(b"half")
    convert_digits(tmp_path / "digits")
    assert {path.name for path in tmp_path.iterdir()} == {
        "digits",
        f".digits.{running}.partial",
        f".other.{dead.pid}.partial",
    }


def test_an_existing_set_is_not_overwritten(converted):
    before = (converted / "manifest.json").stat().st_mtime_ns
    with pytest.raises(OSError, match="not empty"):
        convert_digits(converted)
    assert (converted / "manifest.json").stat().st_mtime_ns == before
    assert [path.name for path in converted.parent.iterdir()] == [converted.name]
