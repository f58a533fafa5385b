"""The converter's benchmark runs both routes on the same files, and both convert all of them."""

from __future__ import annotations

import re

import pytest
import tensorflow as tf

from benchmarks import converter
from preprocessing.records.examples import inspect_example

NUM_IMAGES = 12


def test_both_routes_write_the_same_images(tmp_path):
    """Byte by byte, with their sizes and labels; the order is each route's own."""
    raw = tmp_path / "raw"
    converter.write_class_folders(raw, NUM_IMAGES, 20_000)
    contents = []
    for name, make in (("ours", converter.our_converter), ("theirs", converter.tf_imagenet_route)):
        make(str(raw), str(tmp_path / name))()
        (shard,) = (tmp_path / name / "0").glob("train-00000-of-00001")
        contents.append(sorted(map(facts_of, tf.data.TFRecordDataset(str(shard)))))
    files = sorted(path.read_bytes() for path in raw.rglob("*.jpg"))
    assert contents[0] == contents[1]
    assert [encoded for encoded, *_ in contents[0]] == files


def facts_of(record: tf.Tensor) -> tuple[bytes, int, int, int]:
    found, _ = inspect_example(record, converter.NUM_CLASSES)
    features = tf.train.Example.FromString(record.numpy()).features.feature
    sides = (features[f"image/{side}"].int64_list.value[0] for side in ("height", "width"))
    return (features["image/encoded"].bytes_list.value[0], int(found.label), *sides)


@pytest.mark.slow  # a process with TensorFlow
def test_it_prints_speeds_and_ratios(capsys):
    assert converter.main([f"--num_images={NUM_IMAGES}", "--rounds=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{NUM_IMAGES} JPEG files of ")
    assert len([line for line in lines if re.match(r"ratio: \d+\.\d \(", line)]) == 2
