from __future__ import annotations

import pytest
import tensorflow as tf

from common.errors import DataError
from download_and_convert_imagenet.records.manifest import Manifest, Shard, write_manifest
from preprocessing.records.counts import examples_per_shard, num_examples
from preprocessing.records.shards import find_shards


def write_records(directory, split, counts):
    """Shards with the given numbers of records."""
    for index, count in enumerate(counts):
        with tf.io.TFRecordWriter(f"{directory}/{split}-{index:05d}-of-{len(counts):05d}") as file:
            for _ in range(count):
                file.write(b"record")


def test_records_are_counted(tmp_path):
    write_records(tmp_path, "train", [3, 1, 7])
    shards = find_shards(tmp_path, "train")
    assert num_examples(shards) == 11
    assert examples_per_shard(shards, shards.paths[::2]) == [3, 7]


def test_a_changed_file_is_counted_again(tmp_path):
    write_records(tmp_path, "train", [3])
    assert num_examples(find_shards(tmp_path, "train")) == 3
    write_records(tmp_path, "train", [5])
    assert num_examples(find_shards(tmp_path, "train")) == 5


def test_the_manifest_saves_the_scan(tmp_path):
    (tmp_path / "train-00000-of-00001").write_bytes(b"not a record")
    shard = Shard("train-00000-of-00001", 42, 12, "")
    write_manifest(tmp_path, Manifest("x", ("a",), {"train": (shard,)}))
    shards = find_shards(tmp_path, "train")
    assert num_examples(shards) == 42
    assert examples_per_shard(shards, shards.paths) == [42]


def test_a_manifest_of_other_files_is_not_believed(tmp_path):
    write_records(tmp_path, "train", [2, 2])
    shard = Shard("train-00000-of-00001", 42, 12, "")
    write_manifest(tmp_path, Manifest("x", ("a",), {"train": (shard,)}))
    assert num_examples(find_shards(tmp_path, "train")) == 4


@pytest.mark.parametrize(
    "counts",
    [
        [390] + [0] * 126 + [391],  # spread evenly: 50,000 / 128 is 390.6
        [391] + [0] * 126 + [343],  # every shard full but the last
    ],
)
def test_imagenets_size_is_known_from_its_first_and_last_shard(tmp_path, counts):
    write_records(tmp_path, "validation", counts)
    for path in tmp_path.iterdir():  # the middle is not looked at
        if path.stat().st_size == 0:
            path.write_bytes(b"unread")
    assert num_examples(find_shards(tmp_path, "validation")) == 50_000


def test_a_subset_in_as_many_shards_is_counted(tmp_path):
    write_records(tmp_path, "validation", [2] * 128)
    assert num_examples(find_shards(tmp_path, "validation")) == 256


def test_damage_is_named_or_counted_as_one(tmp_path):
    write_records(tmp_path, "train", [3, 4])
    path = tmp_path / "train-00001-of-00002"
    content = bytearray(path.read_bytes())
    content[2 * 22] ^= 1  # a record of six bytes takes 22
    path.write_bytes(content)
    shards = find_shards(tmp_path, "train")
    with pytest.raises(DataError, match=r"train-00001-of-00002: record 2 at byte 44 is damaged"):
        num_examples(shards)
    assert num_examples(find_shards(tmp_path, "train", max_corrupt_records=1)) == 7
