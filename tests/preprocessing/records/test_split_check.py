"""ImageNet's names reveal a shard of the wrong split; names of other sets reveal nothing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError
from download_and_convert_imagenet.__main__ import main as convert
from preprocessing.registry import open_dataset
from preprocessing.verify import main as verify
from tests.preprocessing.image_shards import encode, open_imagenet

NAMES = {"train": "n01440764_{}.JPEG", "val": "ILSVRC2012_val_{:08d}.JPEG"}


def write_images(folder, name, count, first=0):
    folder.mkdir(parents=True)
    random = np.random.default_rng(first + len(name))
    for number in range(first, first + count):
        pixels = random.integers(0, 256, (20, 30, 3), np.uint8)
        (folder / name.format(number)).write_bytes(encode(pixels))


def converted(raw, directory, *options):
    arguments = [str(directory), "--source=folder", f"--raw_dir={raw}", "--num_processes=1"]
    assert convert([*arguments, "--train_shards=2", "--validation_shards=1", *options]) == 0
    return directory


def test_a_part_of_imagenet_s_training_images_may_be_held_out(tmp_path):
    write_images(tmp_path / "raw" / "n01440764", NAMES["train"], 30)
    write_images(tmp_path / "raw" / "n01443537", NAMES["train"], 30, first=30)
    directory = converted(tmp_path / "raw", tmp_path / "set", "--validation_fraction=0.3")
    dataset = open_dataset(DataParams(data_dir=str(directory)))
    num_real = 0
    for _, _, is_real in dataset.eval_batches(batch_size=8, image_size=8):
        num_real += int(is_real.numpy().sum())
    assert num_real == dataset.num_examples("validation") > 0
    assert verify([str(directory)]) == 0


def test_imagenet_s_validation_images_may_be_trained_on(tmp_path):
    write_images(tmp_path / "raw" / "train" / "fish", NAMES["val"], 10, first=1)
    write_images(tmp_path / "raw" / "val" / "fish", NAMES["val"], 5, first=20)
    directory = converted(tmp_path / "raw", tmp_path / "set")
    dataset = open_dataset(DataParams(data_dir=str(directory)))
    _, labels = next(iter(dataset.train_batches(batch_size=10, image_size=8, seed=1)))
    assert labels.numpy().tolist() == [0] * 10
    assert verify([str(directory)]) == 0


def test_the_names_of_imagenet_itself_tell(tmp_path):
    write_images(tmp_path / "raw" / "n01440764", "{}.jpg", 10)
    directory = converted(tmp_path / "raw", tmp_path / "set", "--validation_fraction=0")
    # As sets of other converters are.
    (directory / "manifest.json").unlink()
    shutil.rmtree(directory / ".conversion")
    rename_images(directory / "train-00000-of-00002", "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(DataError, match="train-00000-of-00002: record 0: ILSVRC2012_val_00000001"):
        open_imagenet(directory).train_batches(batch_size=2, image_size=8, seed=1)


def rename_images(path, name):
    """Every record of a shard gets this image/filename."""
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            message = tf.train.Example.FromString(record)
            message.features.feature["image/filename"].bytes_list.value[:] = [name.encode()]
            writer.write(message.SerializeToString())
