from __future__ import annotations

import io
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from common.errors import DataError
from download_and_convert_imagenet.sources.cifar10 import CLASS_NAMES, cifar10_source
from tests.download_and_convert_imagenet.sources.fake_cifar10 import (
    binary_files,
    fake_images,
    python_files,
    small_batches,
    write_archive,
    write_folder,
)

PYTHON, BINARY = "cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"
PYTHON_FOLDER, BINARY_FOLDER = "cifar-10-batches-py", "cifar-10-batches-bin"


@pytest.fixture(autouse=True)
def whole_batches_are_small():
    with small_batches():
        yield


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cifar10")
    return {
        "python": write_archive(python_files(), PYTHON_FOLDER, directory / "py" / PYTHON),
        "binary": write_archive(binary_files(), BINARY_FOLDER, directory / "bin" / BINARY),
    }


def test_every_image_is_the_one_of_the_archive(archives):
    source = cifar10_source(archives["python"])
    assert (source.name, source.class_names, source.keep_png) == ("cifar10", CLASS_NAMES, True)
    batches = fake_images()
    train = [batches[f"data_batch_{number}"] for number in range(1, 6)]
    for split, arrays in (("train", train), ("validation", [batches["test_batch"]])):
        pixels = np.concatenate([images for images, _ in arrays])
        labels = np.concatenate([numbers for _, numbers in arrays])
        images = source.splits[split]
        assert [image.label for image in images] == sorted((labels + 1).tolist())
        assert sorted(image.name for image in images) == [
            f"{split}_{index:05d}.png" for index in range(len(labels))
        ]
        for image in images:
            index = int(image.name[-9:-4])
            assert image.label == labels[index] + 1
            assert image.text == CLASS_NAMES[labels[index]]
            with Image.open(io.BytesIO(image.location.read())) as decoded:
                assert (decoded.format, decoded.mode) == ("PNG", "RGB")
                np.testing.assert_array_equal(np.asarray(decoded), pixels[index])


def test_all_forms_give_the_same_images(archives, tmp_path):
    python_folder = write_folder(python_files(), tmp_path / "a" / PYTHON_FOLDER)
    binary_folder = write_folder(binary_files(), tmp_path / "b" / BINARY_FOLDER)
    expected = cifar10_source(archives["python"])
    for path in (
        archives["binary"],
        archives["python"].parent,
        archives["binary"].parent,
        python_folder,
        python_folder.parent,
        binary_folder,
        binary_folder.parent,
    ):
        assert cifar10_source(path) == expected, path


def test_locations_are_reported_apart_by_their_pixels(archives):
    images = cifar10_source(archives["python"]).splits["train"]
    assert len({image.location.fingerprint for image in images}) == len(images)
    again = pickle.loads(pickle.dumps(images[3].location))
    assert again.fingerprint == images[3].location.fingerprint


def test_incomplete_and_damaged_archives_are_named(archives, tmp_path):
    with pytest.raises(DataError, match=r"holds neither cifar-10-python\.tar\.gz"):
        cifar10_source(tmp_path)
    cut = tmp_path / PYTHON
    cut.write_bytes(archives["python"].read_bytes()[:20_000])
    with pytest.raises(DataError, match=f"{cut} is incomplete or damaged"):
        cifar10_source(cut)
    changed = bytearray(archives["binary"].read_bytes())
    changed[-8] ^= 1  # of the checksum
    cut.write_bytes(changed)
    with pytest.raises(DataError, match=r"is incomplete or damaged \(CRC"):
        cifar10_source(cut)
    files = binary_files()
    del files["data_batch_3.bin"]
    with pytest.raises(DataError, match="data_batch_3 not found"):
        cifar10_source(write_folder(files, tmp_path / "missing"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_2.bin", bytes(3073 + 5), r"data_batch_2\.bin is not a batch"),
        ("test_batch.bin", b"", r"test_batch\.bin has 0 images, not 20"),
        ("test_batch.bin", bytes(3073 * 19), r"test_batch\.bin has 19 images, not 20"),
        ("test_batch.bin", (b"\n" + bytes(3072)) * 20, "labels 10 to 10, not 0 to 9"),
    ],
)
def test_damaged_binary_batches(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        cifar10_source(write_folder(binary_files() | {name: content}, tmp_path / "x"))


def with_byte(content: bytes, position: int, value: int) -> bytes:
    changed = bytearray(content)
    changed[position] = value
    return bytes(changed)


def test_damaged_pickles(tmp_path):
    whole = python_files()["data_batch_4"]
    first_label = whole.index(b"labels](") + len(b"labels](")
    few_labels = whole[:first_label] + whole[first_label + 5 :]
    for number, (content, reason) in enumerate(
        (
            (b"", "Ran out"),
            (b"no pickle", "invalid"),
            (pickle.dumps({}, 2), "b'data'"),
            (whole[:-100], "truncated"),
            (with_byte(whole, 6, 52), "exceeds system's maximum size"),
            (with_byte(whole, 21, 125), "no attribute 'append'"),
            (with_byte(whole, len(whole) - 349, 46), "only integers"),
            (few_labels, "20 images and 19 labels"),
        )
    ):
        files = python_files() | {"data_batch_4": content}
        with pytest.raises(DataError, match=f"data_batch_4 is not a batch.*{reason}"):
            cifar10_source(write_folder(files, tmp_path / str(number)))


def test_a_pickle_cannot_call_anything(tmp_path):
    class Call:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "called"),)

    content = pickle.dumps({"data": Call(), "labels": []}, 2)
    files = python_files() | {"test_batch": content}
    with pytest.raises(DataError, match=r"asks for posix\.mkdir"):
        cifar10_source(write_folder(files, tmp_path / "x"))
    assert not (tmp_path / "called").exists()
