"""The photo set that benchmarks use, and the benchmark of training on it."""

from __future__ import annotations

import io
import re

import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import input_pipeline, photo_set
from preprocessing import verify

NUM_BYTES = 30_000


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("photos")
    counts = {"train": 40, "validation": 6}
    photo_set.write_photo_set(directory, counts, num_bytes=NUM_BYTES, num_shards=2, seed=1)
    return directory


def _features(directory, split):
    for path in sorted(directory.glob(f"{split}-*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield tf.train.Example.FromString(record).features.feature


def test_images_have_the_sizes_that_they_should(directory):
    sizes = []
    for features in _features(directory, "train"):
        encoded = features["image/encoded"].bytes_list.value[0]
        image = Image.open(io.BytesIO(encoded))
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert image.size in photo_set.SIZES
        recorded = [features[f"image/{side}"].int64_list.value[0] for side in ("width", "height")]
        assert list(image.size) == recorded
        assert 1 <= features["image/class/label"].int64_list.value[0] <= 1000
        sizes.append(len(encoded))
    assert len(sizes) == 40
    assert max(sizes) <= NUM_BYTES
    assert min(sizes) > 0.6 * NUM_BYTES  # the step from one quality to the next is about a tenth


def test_the_set_is_valid(directory, capsys):
    assert verify.main([str(directory), "--decode"]) == 0
    assert capsys.readouterr().out.count("intact") == 2


def test_equal_arguments_give_equal_files(directory, tmp_path):
    counts = {"validation": 6}
    photo_set.write_photo_set(tmp_path, counts, num_bytes=NUM_BYTES, num_shards=2, seed=1)
    for path in tmp_path.glob("validation-*"):
        assert path.read_bytes() == (directory / path.name).read_bytes()


@pytest.mark.slow
def test_training_on_files_beside_synthetic_images(directory, capfd):
    arguments = [f"--data_dir={directory}", "--model=lenet", "--image_size=32", "--rounds=2"]
    assert input_pipeline.main(arguments) == 0
    rows = dict(re.findall(r"^(.+?)  +(\d.*)$", capfd.readouterr().out, re.MULTILINE))
    synthetic, records = (
        [float(value) for value in rows[f"{name}, images/s"].split()]
        for name in (input_pipeline.SYNTHETIC, input_pipeline.RECORDS)
    )
    assert 0 < records[1] <= records[0] <= records[2]
    assert 0 < synthetic[1] <= synthetic[0] <= synthetic[2]
    ratio = [float(value) for value in rows["TFRecords / synthetic images"].split()]
    assert (
        records[1] / synthetic[2] - 0.01 <= ratio[1] <= ratio[2] <= records[2] / synthetic[1] + 0.01
    )
    assert rows["synthetic images, data wait"].split()[0] == "0.00%"


@pytest.mark.slow
def test_a_side_that_cannot_start_is_told(capfd):
    assert input_pipeline.main(["--data_dir=/nowhere", "--model=lenet", "--image_size=32"]) == 3
    assert "data directory /nowhere does not exist" in capfd.readouterr().err
