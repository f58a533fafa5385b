"""An error names what failed: the key of the record, the format of the file, the right split."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import os
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf

from common.errors import DataError
from preprocessing import verify
from preprocessing.integrity.skip_damaged import find_damage
from tests.preprocessing.image_shards import (
    encode,
    example,
    numbered_image,
    open_imagenet,
    write_listed,
    write_split,
)

IMAGE = numbered_image(7)
BOX = "image/object/bbox/"


def features(**values) -> dict:
    """The keys of a valid record with one box, less or more `values`; `label` is class/label."""
    found = {"image/encoded": [IMAGE], "image/class/label": [3]}
    found |= {BOX + edge: [share] for edge, share in zip(("xmin", "ymin"), (0.1, 0.1), strict=True)}
    found |= {BOX + edge: [0.9] for edge in ("xmax", "ymax")}
    return found | values


def serialized(found: dict) -> bytes:
    def feature(values: list) -> tf.train.Feature:
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    keys = {key: feature(values) for key, values in found.items() if values}
    return tf.train.Example(features=tf.train.Features(feature=keys)).SerializeToString()


TFDS = {"image": [IMAGE], "label": [3], "file_name": [b"n01440764_1.JPEG"]}
RECORDS = {
    "several labels": (
        features(**{"image/class/label": [0, 1, 0]}),
        "image/class/label has 3 values, one whole number is needed",
    ),
    "label as text": (
        features(**{"image/class/label": [b"3"]}),
        "image/class/label is text, one whole number is needed",
    ),
    "label as float": (
        features(**{"image/class/label": [3.0]}),
        "image/class/label is float32 numbers, one whole number is needed",
    ),
    "no label": (features(**{"image/class/label": []}), "there is no image/class/label"),
    "several images": (
        features(**{"image/encoded": [IMAGE, IMAGE]}),
        "image/encoded has 2 values, one encoded image is needed",
    ),
    "image as numbers": (
        features(**{"image/encoded": [1, 2, 3]}),
        "image/encoded is whole numbers, one encoded image is needed",
    ),
    "no image": (features(**{"image/encoded": []}), "there is no image/encoded"),
    "boxes of unequal lengths": (
        features(**{BOX + "xmin": [0.1, 0.2], BOX + "ymin": [0.1, 0.2]}),
        "image/object/bbox: xmin has 2 values, xmax 1",
    ),
    "boxes without an edge": (
        features(**{BOX + "ymax": []}),
        "image/object/bbox: xmin has 1 value, ymax 0",
    ),
    "a box that is no number": (
        features(**{BOX + "xmin": [math.nan]}),
        "image/object/bbox/xmin holds a number that is not finite",
    ),
    "an infinite box": (
        features(**{BOX + "ymax": [math.inf]}),
        "image/object/bbox/ymax holds a number that is not finite",
    ),
    "boxes in pixels, whole": (
        features(**{BOX + "xmax": [300]}),
        "image/object/bbox/xmax is whole numbers, float32 numbers are needed",
    ),
    "TensorFlow Datasets": (
        TFDS,
        "it has neither image/encoded nor image/class/label; its keys are file_name, image, label, "
        "as TensorFlow Datasets writes them: convert the images with download_and_convert_imagenet",
    ),
    "an empty example": ({}, "it is empty: it has neither image/encoded nor image/class/label"),
}


def start_training(directory, **flags) -> tf.data.Dataset:
    return open_imagenet(directory, **flags).train_batches(batch_size=2, image_size=4, seed=1)


def train_line(directory) -> str:
    """What a user reads when training on the images of a directory fails."""
    dataset = open_imagenet(directory)
    batches = iter(dataset.train_batches(batch_size=2, image_size=4, seed=1))
    with pytest.raises(tf.errors.OpError) as caught:
        next(batches)
    return str(dataset.explain(caught.value, "train"))


def verify_lines(capsys, directory, *arguments) -> list[str]:
    code = verify.main([str(directory), "--data_name=imagenet", *arguments])
    lines = capsys.readouterr().out.splitlines()
    assert (code == 0) == lines[-1].endswith(": intact"), lines
    return lines[:-1]


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_is_refused_for_what_it_lacks(tmp_path, capsys, kind):
    """Training and verification say the same, and with --max_corrupt_records the cause, too."""
    found, problem = RECORDS[kind]
    bad = serialized(found)
    (path,) = write_split(tmp_path, "train", [example(IMAGE, 1), bad, example(IMAGE, 2)], 1)
    line = f"{path}: record 1: {problem}"
    assert train_line(tmp_path) == line
    assert verify_lines(capsys, tmp_path) == [line]
    assert find_damage(path, 1000).first_problem == line


def test_valid_boxes_pass(tmp_path, capsys):
    write_split(tmp_path, "train", [serialized(features()), example(IMAGE, 1)], 1)
    assert verify_lines(capsys, tmp_path) == []


def in_tar(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("train-00000-of-00001")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def in_zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train-00000-of-00001", content)
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
FOREIGN = {
    "gzip": (gzip.compress, "is compressed (gzip), not TFRecords: decompress it"),
    "zlib": (zlib.compress, "is compressed (zlib), not TFRecords: decompress it"),
    "xz": (lzma.compress, "is compressed (xz), not TFRecords: decompress it"),
    "tar": (in_tar, "is a tar archive, not TFRecords: unpack it"),
    "zip": (in_zip, "is a zip archive, not TFRecords: unpack it"),
    "page": (lambda _: b"\n<!DOCTYPE html>\n<html>404</html>", "is HTML text, as servers send"),
    "storage error": (lambda _: b"<?xml version='1.0'?><Error>", "is XML text, as servers send"),
    "pointer": (lambda _: LFS, "is a pointer of Git LFS, not the file itself"),
    "zeros": (lambda content: bytes(len(content)), "begins with zeros, as an interrupted"),
    "image": (lambda _: encode(np.zeros([8, 8, 3], np.uint8)), "is a JPEG image, not TFRecords"),
}


@pytest.mark.parametrize("is_listed", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_format_is_named_as_what_it_is(tmp_path, capsys, kind, is_listed):
    """No losses are allowed for it, whether a manifest knows the size of the shard or not."""
    change, words = FOREIGN[kind]
    paths = write_split(tmp_path, "train", [example(IMAGE, 1 + n) for n in range(10)], 2)
    if is_listed:
        write_listed(tmp_path, 5)
    paths[0].write_bytes(change(paths[0].read_bytes()))
    for losses in (0, 100):
        with pytest.raises(DataError) as caught:
            start_training(tmp_path, max_corrupt_records=losses)
        assert str(caught.value).startswith(f"{paths[0]} {words}")
        assert "max_corrupt" not in str(caught.value)
    (line,) = verify_lines(capsys, tmp_path)
    assert line.startswith(f"{paths[0]} {words}")


def test_the_length_of_a_record_is_not_taken_for_a_format(tmp_path):
    """Its lowest bytes are those of gzip; the file is cut off, and this is said."""
    (path,) = write_split(tmp_path, "train", [bytes(0x8B1F)], 1)
    assert path.read_bytes().startswith(b"\x1f\x8b")
    os.truncate(path, 1000)
    with pytest.raises(DataError, match="the file ends inside it"):
        open_imagenet(tmp_path).num_examples("train")


@pytest.mark.parametrize("subset", ["train", "validation"])
def test_only_files_of_the_split_that_is_read_are_named(tmp_path, subset):
    """Both splits have an image that cannot be decoded."""
    cut = example(encode(np.zeros([40, 40, 3], np.uint8))[:300], 1)
    for split in ("train", "validation"):
        write_split(tmp_path, split, [example(IMAGE, 1), cut], 1)
    dataset = open_imagenet(tmp_path)
    with pytest.raises(tf.errors.OpError) as caught:
        list(dataset.eval_batches(batch_size=2, image_size=4, subset=subset))
    line = str(dataset.explain(caught.value, subset))
    path = tmp_path / f"{subset}-00000-of-00001"
    assert line == f"{path}: record 1: its image cannot be decoded"
