"""Every reader gives the same pixels of a file, or refuses it with the same words."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError
from download_and_convert_imagenet.records.image_repair import prepare_image
from download_and_convert_imagenet.sources.image_source import ImageSource, SourceImage
from inference.answers import classify
from inference.network import CHECKPOINT, Network
from inference.signature import Signature
from inference.view import View
from preprocessing import registry
from preprocessing.images import photos
from preprocessing.images.decoding import decode_window, whole_image
from preprocessing.images.views import train_image
from preprocessing.records.examples import Example
from tests.download_and_convert_imagenet import small_conversions
from tests.download_and_convert_imagenet.records.encoded_images import encode
from tests.preprocessing.images import pixel_zoo

READABLE, DAMAGED = pixel_zoo.readable(), pixel_zoo.damaged()
SIZE = 32
# In the first and last columns of a window, the JPEG decoder lacks the neighbors outside of it,
# from which it interpolates the colors of subsampled images.
EDGE = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    for name, image in READABLE.items():
        (folder / name).write_bytes(image.encoded)
    for name, (encoded, _) in DAMAGED.items():
        (folder / name).write_bytes(encoded)
    return folder


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory):
    """The directory of the shard, its encoded images by name in its order, and its refusals."""
    images = [
        SourceImage(name, 1, "a", "a", small_conversions.location(folder / name))
        for name in (*READABLE, *DAMAGED)
    ]
    source = ImageSource("zoo", ("a", "b"), {"train": images}, keep_png=True, upright=True)
    directory = tmp_path_factory.mktemp("records")
    small_conversions.run(source, directory, {"train": 1}, max_corrupt_images=len(DAMAGED))
    stored = {}
    for record in tf.data.TFRecordDataset(str(directory / "train-00000-of-00001")):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        name = features["image/filename"].bytes_list.value[0].decode()
        stored[name] = features["image/encoded"].bytes_list.value[0]
    lines = (directory / "corrupt_images.txt").read_text().splitlines()
    refused = dict(line.removeprefix("train ").split(" ", 1) for line in lines)
    return directory, stored, refused


def example(encoded):
    return Example(tf.constant(encoded), tf.constant(0), tf.zeros([0, 4]))


def test_the_zoo_is_large():
    assert len(READABLE) + len(DAMAGED) >= 70


def test_the_converter_stores_the_pixels_of_every_file(converted):
    _, stored, _ = converted
    assert stored.keys() == READABLE.keys()
    for name, image in READABLE.items():
        pixels = decode_window(tf.constant(stored[name]), whole_image).numpy().astype(int)
        assert pixels.shape == image.pixels.shape, name
        assert np.abs(pixels - image.pixels).max() <= image.bound, name


def test_every_reader_of_photos_gives_the_stored_pixels(converted, folder):
    """photos.read is also what docs/keras_api.md reads."""
    for name, encoded in converted[1].items():
        assert photos.load(folder / name) == encoded, name
        pixels = decode_window(tf.constant(encoded), whole_image).numpy()
        assert np.array_equal(photos.read(folder / name), pixels), name


def test_evaluation_and_prediction_see_the_same(converted, folder):
    directory, stored, _ = converted
    data = DataParams(data_dir=str(directory))
    dataset = registry.open_dataset(data)
    batches = dataset.eval_batches(batch_size=1, image_size=SIZE, subset="train")
    evaluated = [images.numpy()[0] for images, _, is_real in batches if is_real.numpy()[0]]
    seen = []

    class Answering:
        image_size, num_classes = SIZE, 2

        def probabilities(self, images):
            seen.extend(images)
            return np.ones([len(images), 2], np.float32)

    view = View(**{f.name: getattr(data, f.name) for f in dataclasses.fields(View)})
    paths = [str(folder / name) for name in stored]
    signature = Signature("lenet", SIZE, ("a", "b"), view)
    network = Network(Answering(), signature, CHECKPOINT, Path("none"))
    assert all("error" not in answer for answer in classify(network, paths, 1))
    np.testing.assert_array_equal(np.stack(seen), np.stack(evaluated))


def test_training_sees_the_pixels_of_every_file(converted):
    """The view of the stored bytes is that of the pixels."""
    data, seed = DataParams(), tf.constant([3, 5], tf.int64)
    view = tf.function(lambda item: train_image(data, item, SIZE, seed, tf.constant(0, tf.int64)))
    for name, image in READABLE.items():
        exact = encode(pixel_zoo.Image.fromarray(image.pixels.astype(np.uint8)), "PNG")
        ours, wanted = view(example(converted[1][name])), view(example(exact))
        difference = np.abs(ours.numpy().astype(int) - wanted.numpy().astype(int)).max()
        is_subsampled = name.lower().endswith((".jpg", ".jpeg")) or name == "jpeg_named.png"
        assert difference <= image.bound + EDGE * is_subsampled, name


def test_images_of_imagenet_keep_their_bytes():
    """Whatever their orientation: its boxes and published accuracies are of the stored pixels."""
    kept = [name for name in READABLE if name.startswith("orientation_")]
    assert len(kept) == 8
    for name in kept:
        assert prepare_image(READABLE[name].encoded).encoded is READABLE[name].encoded
        is_kept = prepare_image(READABLE[name].encoded, upright=True).repair is None
        assert is_kept == (name == "orientation_1.jpg")


@pytest.mark.parametrize("name", DAMAGED)
def test_every_reader_refuses_a_file_with_the_same_words(converted, folder, name):
    _, _, refused = converted
    assert re.search(DAMAGED[name][1], refused[name])
    with pytest.raises(DataError) as raised:
        photos.load(folder / name)
    assert str(raised.value) == f"{folder / name} {refused[name]}"
