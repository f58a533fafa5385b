"""Damaged, foreign and misplaced files of a data set."""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile

import pytest
import tensorflow as tf
from PIL import Image

import train
from download_and_convert_imagenet.__main__ import main as convert
from tests.advice.cases import (
    LENET,
    Case,
    Place,
    checking,
    conversion,
    evaluating,
    flagged,
    follow,
    training,
)
from tests.preprocessing.image_shards import flip_bit, numbered_image, write_split


def copied(place: Place, _: str) -> None:
    place.copy_again()


def converted(place: Place, _: str) -> None:
    place.convert_again()


def converted_elsewhere(place: Place, _: str) -> None:
    place.convert_elsewhere()


def damaged(place: Place) -> None:
    flip_bit(place.shard, 100)


def as_tar(place: Place) -> None:
    with tarfile.open(place.data / "shard.tar", "w") as tar:
        tar.add(place.shard, place.shard.name)
    (place.data / "shard.tar").replace(place.shard)


def unpack(place: Place, _: str) -> None:
    with tarfile.open(place.shard) as tar:
        (content,) = (tar.extractfile(member).read() for member in tar)  # type: ignore[union-attr]
    place.shard.write_bytes(content)


def spoil_records(place: Place, **keys: bytes) -> None:
    """Writes a training set of one record with these keys."""
    shutil.rmtree(place.data)
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in keys.items()
    }
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    write_split(place.data, "train", [record], 1)


def with_label(place: Place, label: int) -> None:
    """Writes a label into the first record of the training images; the manifest follows."""
    records = list(tf.data.TFRecordDataset(str(place.shard)).as_numpy_iterator())
    first = tf.train.Example.FromString(records[0])
    first.features.feature["image/class/label"].int64_list.value[:] = [label]
    with tf.io.TFRecordWriter(str(place.shard)) as writer:
        for record in (first.SerializeToString(), *records[1:]):
            writer.write(record)


def without_validation(place: Place) -> None:
    (place.data / "validation-00000-of-00001").unlink()


def rejected_conversion(place: Place) -> None:
    """One image is broken, and the conversion asks for it again."""
    shutil.rmtree(place.data)
    (place.raw / "train" / "ant" / "0.jpg").write_bytes(b"no image")
    assert convert(conversion(place.raw, place.data)) == 3


def renamed(place: Place, suffix: str = ".tfrecord") -> None:
    for path in place.data.glob("*-of-*"):
        path.rename(path.with_name(path.name + suffix))


def renamed_back(place: Place, _: str) -> None:
    for path in place.data.glob("*-of-*"):
        path.rename(path.with_suffix(""))


def in_folder_of_train(place: Place) -> None:
    (place.data / "train").mkdir()
    for path in (*place.data.glob("train-*"), place.data / "validation-00000-of-00001"):
        path.rename(place.data / "train" / path.name)


def validation_moved_away(place: Place, message: str) -> None:
    name = re.findall(r"holds (\S+) among", message)[0]
    (place.data / "train" / name).rename(place.data / name)


def without_manifest(place: Place) -> None:
    """As other converters leave a directory."""
    (place.data / "manifest.json").unlink()
    shutil.rmtree(place.data / ".conversion")


def swapped_shard(place: Place) -> None:
    """A shard of ImageNet's training images under the name of a validation shard."""
    without_manifest(place)
    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    values = {"image/encoded": numbered_image(1), "image/filename": b"n01440764_1.JPEG"}
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in values.items()
    }
    features["image/class/label"] = label
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    write_split(place.data, "validation", [record], 1)
    place.flags = ["--data_name=imagenet", "--data_subset=validation"]


def right_shard(place: Place, _: str) -> None:
    shutil.copy(place.whole / "validation-00000-of-00001", place.data)


def empty_class_folders(place: Place) -> None:
    """As before the photos are copied there."""
    place.data = place.data.with_name("empty")
    for name in ("ant", "bee"):
        (place.data / name).mkdir(parents=True)
    place.flags = [f"--cache_dir={place.data.with_name('cache')}"]


def foreign_directory(place: Place) -> None:
    (place.data / "manifest.json").unlink()
    place.flags = ["--data_name=digits"]


def another_data_dir(place: Place, _: str) -> None:
    place.data = place.data.with_name("digits")


DATA = {
    "bit, copied": Case(training, damaged, "convert or copy the shard again", copied),
    "bit, skipped": Case(
        training,
        damaged,
        "skip damaged records with --max_corrupt_records",
        flagged("--max_corrupt_records=1"),
    ),
    "empty shard": Case(
        training, lambda p: p.shard.write_bytes(b""), "copy or convert it again", copied
    ),
    "long shard": Case(
        checking, lambda p: p.shard.open("ab").write(b"x"), "copy or convert it again", converted
    ),
    "no record": Case(
        training,
        lambda p: (p.shard.write_bytes(b"\1" * 999), flagged("--max_corrupt_records=99")(p)),
        "convert or copy the shard again",
        copied,
    ),
    "gzip": Case(
        checking,
        lambda p: p.shard.write_bytes(gzip.compress(p.shard.read_bytes())),
        "decompress it, or write it without compression",
        lambda p, _: p.shard.write_bytes(gzip.decompress(p.shard.read_bytes())),
    ),
    "tar": Case(checking, as_tar, "unpack it, and convert images with download_and", unpack),
    "page": Case(
        checking,
        lambda p: p.shard.write_bytes(b"<!DOCTYPE html><title>Log in"),
        "download it again",
        copied,
    ),
    "attributes": Case(
        checking,
        lambda p: p.shard.write_bytes(b"\x00\x05\x16\x07" + bytes(200)),
        "copy the shard again",
        copied,
    ),
    "foreign keys": Case(
        training,
        lambda p: (spoil_records(p, image=b"", label=b""), flagged("--data_name=imagenet")(p)),
        "convert the images with download_and_convert_imagenet",
        lambda p, _: (p.convert_elsewhere(), flagged()(p)),
    ),
    "a label that no class has": Case(
        training,
        lambda p: (with_label(p, 7), flagged("--balanced_sampling")(p)),
        "copy the shard again, or convert the images into another directory",
        copied,
    ),
    "a label that no class has, converted": Case(
        training,
        lambda p: (with_label(p, 7), flagged("--balanced_sampling")(p)),
        "or convert the images into another directory",
        converted_elsewhere,
    ),
    "raw photos": Case(
        training,
        empty_class_folders,
        "convert raw images with download_and_convert_imagenet first",
        lambda p, _: (p.convert_elsewhere(), flagged()(p)),
    ),
    "photos to come": Case(
        training,
        empty_class_folders,
        "or put photos into ",
        lambda p, _: shutil.copytree(p.raw / "train", p.data, dirs_exist_ok=True),
    ),
    "a split lacks": Case(
        evaluating,
        without_validation,
        "convert that split too",
        converted,
    ),
    "another split": Case(
        evaluating,
        without_validation,
        "choose another --data_subset",
        flagged("--data_subset=train"),
    ),
    "no split to evaluate on": Case(
        training,
        lambda p: (without_validation(p), flagged("--eval_every_epochs=1")(p)),
        "train without --eval_every_epochs",
        flagged(),
    ),
    "other names": Case(training, renamed, "rename or decompress these files", renamed_back),
    "unfinished": Case(
        training,
        rejected_conversion,
        "repeat the converter's command",
        lambda p, _: p.convert_again("--max_corrupt_images=1"),
    ),
    "wrong name": Case(
        training,
        flagged("--data_name=imagenet"),
        "give --data_name=folder, which takes any number",
        flagged("--data_name=folder"),
    ),
    "two sets": Case(
        training,
        lambda p: shutil.copy(p.shard, p.data / "train-00000-of-00009"),
        "remove one",
        lambda p, _: (p.data / "train-00000-of-00009").unlink(),
    ),
    "one too many": Case(
        training,
        lambda p: shutil.copy(p.shard, p.data / "train-00007-of-00002"),
        "remove it",
        lambda p, _: (p.data / "train-00007-of-00002").unlink(),
    ),
    "mixed folder": Case(checking, in_folder_of_train, "move it away", validation_moved_away),
    "swapped": Case(training, swapped_shard, "put the right shard in its place", right_shard),
    "no manifest": Case(
        training,
        without_manifest,
        "give --data_name={imagenet,cifar10}, or convert images of other classes with",
        flagged("--data_name=imagenet"),
    ),
    "no number of classes": Case(
        training,
        lambda p: (without_manifest(p), flagged("--data_name=folder")(p)),
        "convert the class folders with download_and_convert_imagenet",
        converted_elsewhere,
    ),
    "digits over photos": Case(
        training, foreign_directory, "choose another --data_dir", another_data_dir
    ),
    "a flag of other views": Case(
        training,
        lambda p: (
            another_data_dir(p, ""),
            flagged("--data_name=digits", "--train_crop=efficientnet")(p),
        ),
        "leave it out",
        flagged("--data_name=digits"),
        exit_code=2,
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_advice_about_data_helps(place, capsys, name):
    follow(DATA[name], place, capsys)


def test_photos_too_few_for_a_validation_split(tmp_path, capsys):
    """The converter says which fraction helps, and the training what to convert again."""
    for name in ("ant/0", "ant/1", "ant/2", "bee/0", "bee/1", "bee/2"):
        path = tmp_path / "raw" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(path)
    to_convert = [str(tmp_path / "data"), "--source=folder", f"--raw_dir={tmp_path / 'raw'}"]
    to_train = [*LENET, f"--data_dir={tmp_path / 'data'}", "--eval_every_steps=1"]
    assert convert([*to_convert, "--num_processes=1"]) == 0
    (advice,) = re.findall(r"(--validation_fraction=\S+) or more", capsys.readouterr().out)
    assert train.main(to_train) == 3
    message = capsys.readouterr().err
    assert "a larger --validation_fraction holds images out), or train without " in message
    assert "--eval_every_steps" in message
    assert "--data_subset" not in message
    assert convert([*to_convert, "--num_processes=1", advice]) == 0
    assert train.main(to_train) == 0
    assert "Accuracy @ 1 = " in capsys.readouterr().out
