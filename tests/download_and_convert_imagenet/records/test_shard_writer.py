from __future__ import annotations

import hashlib

import pytest
import tensorflow as tf

from download_and_convert_imagenet.records.manifest import shard_name, split_of
from download_and_convert_imagenet.records.shard_writer import shard_ranges, write_shard

RECORDS = [b"", b"a", b"some data" * 100, bytes(5000)]


def test_file_is_that_of_tensorflows_writer(tmp_path):
    shard = write_shard(tmp_path, "train", 7, 1024, RECORDS)
    assert shard.file == "train-00007-of-01024"
    with tf.io.TFRecordWriter(str(tmp_path / "reference")) as writer:
        for record in RECORDS:
            writer.write(record)
    content = (tmp_path / shard.file).read_bytes()
    assert content == (tmp_path / "reference").read_bytes()
    assert shard.num_examples == 4
    assert shard.num_bytes == len(content)
    assert shard.sha256 == hashlib.sha256(content).hexdigest()


def test_an_interrupted_shard_leaves_nothing(tmp_path):
    def records():
        yield b"first"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path, "train", 0, 1, records())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_keeps_the_old_shard(tmp_path):
    write_shard(tmp_path, "train", 0, 1, [b"old"])
    before = (tmp_path / "train-00000-of-00001").read_bytes()

    def records():
        yield b"new"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_shard(tmp_path, "train", 0, 1, records())
    assert (tmp_path / "train-00000-of-00001").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("num_examples", "num_shards"), [(10, 3), (1_281_167, 1024), (2, 4)])
def test_ranges_cover_everything_once_and_evenly(num_examples, num_shards):
    ranges = shard_ranges(num_examples, num_shards)
    assert len(ranges) == num_shards
    assert [n for r in ranges for n in r] == list(range(num_examples))
    sizes = [len(r) for r in ranges]
    assert max(sizes) - min(sizes) <= 1


def test_names():
    assert shard_name("validation", 127, 128) == "validation-00127-of-00128"
    assert split_of(shard_name("validation", 127, 128)) == "validation"
    for other in (
        ".train-00000-of-00001",
        "train-00000-of-00001.gz",
        "train-0-of-1",
        "manifest.json",
    ):
        assert split_of(other) is None
