"""CIFAR-10 from its archives to batches: no pixel changes on the way."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmark_cnn.params.data_params import DataParams
from download_and_convert_imagenet.__main__ import main
from download_and_convert_imagenet.records.manifest import read_manifest
from download_and_convert_imagenet.sources.cifar10 import CLASS_NAMES
from preprocessing.registry import open_dataset
from tests.conftest import ROOT
from tests.download_and_convert_imagenet.sources.fake_cifar10 import (
    binary_files,
    fake_images,
    python_files,
    small_batches,
    write_archive,
)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """One data directory from each of the two archives."""
    directory = tmp_path_factory.mktemp("cifar10")
    archives = (
        (python_files(), "cifar-10-batches-py", "cifar-10-python.tar.gz"),
        (binary_files(), "cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
    )
    data_dirs = []
    for files, folder, name in archives:
        data_dir = directory / name.removesuffix(".tar.gz")
        write_archive(files, folder, data_dir / name)
        with small_batches():
            assert main([str(data_dir), "--source=cifar10", "--num_processes=1"]) == 0
        data_dirs.append(data_dir)
    return data_dirs


def images_of(split):
    """Pixels -> label, from 0, of what was put into the archives."""
    batches = fake_images()
    names = ["test_batch"] if split == "validation" else sorted(set(batches) - {"test_batch"})
    return {
        image.tobytes(): label
        for name in names
        for image, label in zip(batches[name][0], batches[name][1].tolist(), strict=True)
    }


def test_both_archives_give_the_same_files(converted):
    contents = [
        {
            path.name: path.read_bytes()
            for path in data_dir.iterdir()
            if path.is_file() and path.suffix != ".gz"
        }
        for data_dir in converted
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 8 + 2 + 1  # shards, manifest
    manifest = read_manifest(converted[0])
    assert (manifest.name, manifest.class_names) == ("cifar10", CLASS_NAMES)
    assert manifest.num_examples("train") == 100
    assert manifest.num_examples("validation") == 20


def test_a_batch_without_ten_thousand_images_is_refused(tmp_path, capsys):
    write_archive(binary_files(), "cifar-10-batches-bin", tmp_path / "cifar-10-binary.tar.gz")
    assert main([str(tmp_path), "--source=cifar10", "--num_processes=1"]) == 3
    assert "data_batch_1.bin has 20 images, not 10,000\n" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_pixel_arrives(converted, split):
    dataset = open_dataset(DataParams(data_dir=str(converted[0])))
    assert (dataset.name, dataset.num_classes) == ("cifar10", 10)
    expected = images_of(split)
    ((images, labels, is_real),) = dataset.eval_batches(
        batch_size=len(expected), image_size=32, subset=split
    )
    assert is_real.numpy().all()
    pixels = images.numpy()
    np.testing.assert_array_equal(pixels, pixels.astype(np.uint8))
    found = zip(pixels.astype(np.uint8), labels.numpy().tolist(), strict=True)
    assert {image.tobytes(): label for image, label in found} == expected


def test_training_views_are_windows_of_images_with_four_black_pixels_around(converted):
    dataset = open_dataset(DataParams(data_dir=str(converted[0])))
    labels_of = images_of("train")
    padded = {}
    for content, label in labels_of.items():
        image = np.frombuffer(content, np.uint8).reshape(32, 32, 3)
        padded.setdefault(label, []).append(np.pad(image, ((4, 4), (4, 4), (0, 0))))
    batches = dataset.train_batches(batch_size=50, image_size=32, seed=1)
    images, labels = next(iter(batches))
    offsets, num_mirrored = set(), 0
    for view, label in zip(images.numpy().astype(np.uint8), labels.numpy().tolist(), strict=True):
        window = _find_window(view, padded[label])
        mirrored = _find_window(view[:, ::-1], padded[label])
        assert (window is None) != (mirrored is None)
        num_mirrored += window is None
        offsets.add(window or mirrored)
    assert 10 < num_mirrored < 40
    assert len(offsets) > 20


def _find_window(view, images):
    """(y, x) at which a 32x32 view is cut out of one of the images, None when it is nowhere."""
    for image in images:
        for y in range(9):
            for x in range(9):
                if np.array_equal(view, image[y : y + 32, x : x + 32]):
                    return y, x
    return None


@pytest.mark.slow
def test_a_network_learns_it(converted, tmp_path):
    def run(*command):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        completed = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    train_dir = tmp_path / "run"
    run(
        "train.py",
        "--model=lenet",
        "--device=cpu",
        "--data_name=cifar10",
        f"--data_dir={converted[0]}",
        "--batch_size=50",
        "--num_batches=400",
        "--display_every=100",
        f"--train_dir={train_dir}",
    )
    output = run("eval.py", f"--train_dir={train_dir}")
    accuracy = re.search(r"Accuracy @ 1 = (\S+) .*\[20 examples\]", output)
    assert accuracy is not None, output
    assert float(accuracy[1]) >= 0.9  # one brightness a class
