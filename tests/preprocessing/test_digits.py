"""The digits data set from its first use to batches."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError
from preprocessing import verify
from preprocessing.registry import open_dataset


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data") / "digits"
    open_dataset(DataParams(data_dir=str(directory)))
    return directory


def test_first_use_writes_the_records(data_dir):
    names = sorted(path.name for path in data_dir.iterdir())
    assert names[0] == "manifest.json"
    assert len([name for name in names if name.startswith("train-")]) == 8
    dataset = open_dataset(DataParams(data_dir=str(data_dir)))
    assert (dataset.name, dataset.num_classes, dataset.synthetic) == ("digits", 10, False)
    assert dataset.num_examples("train") + dataset.num_examples("validation") == 1797


def test_without_a_directory_it_goes_to_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    open_dataset(DataParams(data_name="digits"))
    assert (tmp_path / "tensorflow_imagenet" / "data" / "digits" / "manifest.json").exists()


def test_a_directory_that_is_empty_takes_the_records(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    open_dataset(DataParams(data_dir=str(tmp_path / "link"), data_name="digits"))
    assert (tmp_path / "mine" / "manifest.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "mine"]


@pytest.mark.parametrize("directory", [".", "..", "/", "digits"])
def test_files_of_others_stay(tmp_path, monkeypatch, directory):
    (tmp_path / "here" / "digits").mkdir(parents=True)
    (tmp_path / "here" / "digits" / "train-00000-of-00001").write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError, match=r"holds other files than the digits .*another --data_dir"):
        open_dataset(DataParams(data_dir=directory, data_name="digits"))
    assert len(list(tmp_path.rglob("*"))) == 3


def test_the_current_directory_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="cannot replace the current directory"):
        open_dataset(DataParams(data_dir=".", data_name="digits"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data_name", [[], ["--data_name=digits"]])
def test_a_check_writes_nothing(tmp_path, capsys, data_name):
    assert verify.main([str(tmp_path / "digits"), *data_name]) == 3
    assert capsys.readouterr().err == f"error: data directory {tmp_path}/digits does not exist\n"
    (tmp_path / "digits").mkdir()
    assert verify.main([str(tmp_path / "digits"), *data_name]) == 3
    assert capsys.readouterr().err == f"error: data directory {tmp_path}/digits is empty\n"
    assert list(tmp_path.rglob("*")) == [tmp_path / "digits"]


def test_second_use_writes_nothing(data_dir):
    before = {path: path.stat().st_mtime_ns for path in data_dir.iterdir()}
    open_dataset(DataParams(data_dir=str(data_dir), data_name="digits"))
    assert {path: path.stat().st_mtime_ns for path in data_dir.iterdir()} == before


def test_missing_scikit_learn_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r"pip install scikit-learn") as caught:
        open_dataset(DataParams(data_dir=str(tmp_path / "digits")))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_every_digit_of_an_epoch_and_its_label(data_dir):
    dataset = open_dataset(DataParams(data_dir=str(data_dir)))
    num_train = dataset.num_examples("train")
    batches = dataset.train_batches(batch_size=num_train, image_size=32, seed=1)
    images, labels = next(iter(batches))
    assert images.shape == (num_train, 32, 32, 3)
    counts = np.bincount(labels.numpy(), minlength=10)
    assert counts.sum() == num_train
    assert counts.min() > 130  # of each digit 174 to 183 exist, of which four fifths


def test_validation_is_exact(data_dir):
    dataset = open_dataset(DataParams(data_dir=str(data_dir)))
    num_real = 0
    for images, _, is_real in dataset.eval_batches(batch_size=50, image_size=48):
        assert images.shape == (50, 48, 48, 3)
        num_real += int(is_real.numpy().sum())
    assert num_real == dataset.num_examples("validation")


def test_nearest_mean_digit_is_mostly_right(data_dir):
    """Labels fit images, and training views fit evaluation views: a classifier of ten means.

    On the raw 8x8 pixels a nearest-centroid classifier of this data set is about 90% right.
    """
    dataset = open_dataset(DataParams(data_dir=str(data_dir)))
    batches = dataset.train_batches(batch_size=dataset.num_examples("train"), image_size=16, seed=1)
    images, labels = (tensor.numpy() for tensor in next(iter(batches)))
    means = np.stack([images[labels == digit].mean(0).ravel() for digit in range(10)])
    correct = total = 0
    for views, truth, is_real in dataset.eval_batches(batch_size=100, image_size=16):
        distances = ((views.numpy().reshape(100, 1, -1) - means) ** 2).sum(-1)
        hits = distances.argmin(1) == truth.numpy()
        correct += int((hits & is_real.numpy()).sum())
        total += int(is_real.numpy().sum())
    assert correct / total > 0.85
