from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest
import tensorflow as tf

from download_and_convert_imagenet.conversion import convert
from download_and_convert_imagenet.conversion_workers import ConversionError
from download_and_convert_imagenet.directory_lock import DirectoryLockedError, locked_directory
from download_and_convert_imagenet.image_source import (
    ImageFile,
    ImageSource,
    SourceError,
    SourceImage,
)
from download_and_convert_imagenet.manifest import read_manifest
from download_and_convert_imagenet.tf_example import BoundingBox
from tests.download_and_convert_imagenet.encoded_images import encode, picture

NUM_IMAGES = {"train": 23, "validation": 7}
NUM_SHARDS = {"train": 4, "validation": 2}
CLASSES = ("cat", "dog", "gnu")


class Told:
    """A display that remembers."""

    def __init__(self):
        self.notices = []
        self.total = self.advanced = (0, 0)

    def notice(self, text):
        self.notices.append(text)

    def start(self, num_images, num_bytes):
        self.total = num_images, num_bytes

    def advance(self, num_images, num_bytes):
        self.advanced = self.advanced[0] + num_images, self.advanced[1] + num_bytes


def location(path):
    status = path.stat()
    return ImageFile(str(path), status.st_size, status.st_mtime_ns)


def make_source(directory, splits=("train", "validation")):
    """Images on disk in three classes; every second one has a box."""
    images = {split: [] for split in splits}
    for split in splits:
        for number in range(NUM_IMAGES[split]):
            path = directory / f"{split}_{number}.jpg"
            if not path.exists():
                path.write_bytes(encode(picture(20 + number, 30)))
            label = 1 + number * len(CLASSES) // NUM_IMAGES[split]
            boxes = (BoundingBox(0.0, 0.25, 0.5, 1.0),) * (number % 2)
            name = CLASSES[label - 1]
            images[split].append(SourceImage(path.name, label, name, name, location(path), boxes))
    return ImageSource("pets", CLASSES, images)


def run(source, data_dir, num_shards=None, max_corrupt_images=0):
    told = Told()
    result = convert(
        source,
        data_dir,
        num_shards or NUM_SHARDS,
        num_processes=1,
        max_corrupt_images=max_corrupt_images,
        display=told,
    )
    return result, told


def identities(data_dir):
    """What changes whenever a shard is written."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in data_dir.glob("*-of-*")
    }


def read_examples(path):
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [tf.train.Example.FromString(record).features.feature for record in records]


@pytest.fixture
def raw(tmp_path):
    directory = tmp_path / "raw"
    directory.mkdir()
    return directory


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


def test_every_image_is_in_one_shard_as_it_was(raw, data_dir):
    source = make_source(raw)
    _, told = run(source, data_dir)
    for split, images in source.splits.items():
        count = NUM_SHARDS[split]
        paths = [data_dir / f"{split}-{i:05d}-of-{count:05d}" for i in range(count)]
        shards = [read_examples(path) for path in paths]
        assert {len(shard) for shard in shards} == {len(images) // count, len(images) // count + 1}
        found = {f["image/filename"].bytes_list.value[0].decode(): f for s in shards for f in s}
        assert sorted(found) == sorted(image.name for image in images)
        for image in images:
            features = found[image.name]
            assert features["image/encoded"].bytes_list.value[0] == (raw / image.name).read_bytes()
            assert features["image/class/label"].int64_list.value[0] == image.label
            assert features["image/class/synset"].bytes_list.value[0] == image.synset.encode()
            assert features["image/height"].int64_list.value[0] == 30
            assert len(features["image/object/bbox/xmin"].float_list.value) == len(image.boxes)
    assert told.total == told.advanced
    assert told.total[0] == 30
    assert told.total[1] == sum(path.stat().st_size for path in raw.iterdir())


def test_classes_are_mixed_and_the_order_goes_by_names_alone(raw, data_dir, tmp_path):
    source = make_source(raw)
    run(source, data_dir)
    labels = [
        f["image/class/label"].int64_list.value[0]
        for path in sorted(data_dir.glob("train-*"))
        for f in read_examples(path)
    ]
    assert labels != sorted(labels)
    assert {1, 2, 3} == set(labels[:12]) == set(labels[12:])
    reverse = replace(source, splits={s: list(reversed(i)) for s, i in source.splits.items()})
    run(reverse, tmp_path / "reverse")
    for path in data_dir.glob("*-of-*"):
        assert path.read_bytes() == (tmp_path / "reverse" / path.name).read_bytes()


def test_manifest(raw, data_dir):
    result, _ = run(make_source(raw), data_dir)
    manifest = read_manifest(data_dir)
    assert manifest is not None
    assert (manifest.name, manifest.class_names) == ("pets", CLASSES)
    assert {split: manifest.num_examples(split) for split in NUM_IMAGES} == NUM_IMAGES
    for shard in [shard for shards in manifest.splits.values() for shard in shards]:
        content = (data_dir / shard.file).read_bytes()
        assert shard.num_bytes == len(content)
        assert shard.sha256 == hashlib.sha256(content).hexdigest()
    assert result.is_accepted
    assert sum(shard.num_boxes for shard in result.shards) == 23 // 2 + 7 // 2


def test_finished_shards_are_kept(raw, data_dir):
    run(make_source(raw), data_dir)
    before = identities(data_dir)
    result, told = run(make_source(raw), data_dir)
    assert identities(data_dir) == before
    assert (result.num_kept, result.num_images_now) == (6, 0)
    assert told.notices == ["6 of 6 shards are finished already and kept"]


def test_one_changed_image_costs_one_shard(raw, data_dir):
    run(make_source(raw), data_dir)
    before = identities(data_dir)
    (raw / "train_5.jpg").write_bytes(encode(picture(99, 77)))
    _, told = run(make_source(raw), data_dir)
    after = identities(data_dir)
    (changed,) = [name for name in after if after[name] != before[name]]
    names = {f["image/filename"].bytes_list.value[0] for f in read_examples(data_dir / changed)}
    assert b"train_5.jpg" in names
    assert "finished shards that are converted anew: 1" in told.notices[0]
    assert read_manifest(data_dir) is not None


@pytest.mark.parametrize("damage", ["missing", "shorter", "unrecorded"])
def test_a_shard_that_is_not_as_recorded_is_written_again(raw, data_dir, damage):
    run(make_source(raw), data_dir)
    before = identities(data_dir)
    path = data_dir / "train-00002-of-00004"
    content = path.read_bytes()
    journal = data_dir / ".conversion" / "finished_shards.jsonl"
    if damage == "missing":
        path.unlink()
    elif damage == "shorter":
        path.write_bytes(content[:-5])
    else:
        lines = [line for line in journal.read_text().splitlines() if path.name not in line]
        journal.write_text("\n".join(lines))
    result, _ = run(make_source(raw), data_dir)
    assert path.read_bytes() == content
    assert result.num_kept == 5
    after = identities(data_dir)
    assert {name for name in after if after[name] == before[name]} == set(after) - {path.name}


def test_a_record_that_was_cut_off_harms_no_other(raw, data_dir):
    run(make_source(raw), data_dir)
    journal = data_dir / ".conversion" / "finished_shards.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert run(make_source(raw), data_dir)[0].num_kept == 5
    assert run(make_source(raw), data_dir)[0].num_kept == 6


def test_another_number_of_shards_replaces_the_old_ones(raw, data_dir):
    run(make_source(raw), data_dir)
    before = identities(data_dir)
    _, told = run(make_source(raw), data_dir, {"train": 3, "validation": 2})
    names = sorted(path.name for path in data_dir.glob("*-of-*"))
    assert names == [f"train-0000{i}-of-00003" for i in range(3)] + [
        f"validation-0000{i}-of-00002" for i in range(2)
    ]
    assert "finished shards that are converted anew: 4" in told.notices[0]
    assert identities(data_dir)[names[-1]] == before[names[-1]]


def test_corrupt_images_are_left_out_and_listed_after_everything_else(raw, data_dir):
    make_source(raw)
    (raw / "train_3.jpg").write_bytes(b"")
    (raw / "validation_2.jpg").write_bytes((raw / "validation_2.jpg").read_bytes()[:-30])
    source = make_source(raw)
    result, told = run(source, data_dir, max_corrupt_images=1)
    assert not result.is_accepted
    assert sum(shard.shard.num_examples for shard in result.shards) == 28
    assert told.advanced == told.total
    assert read_manifest(data_dir) is None
    assert (data_dir / "corrupt_images.txt").read_text().splitlines() == [
        "train train_3.jpg is empty (0 bytes)",
        "validation validation_2.jpg is a truncated JPEG",
    ]
    before = identities(data_dir)
    result, _ = run(source, data_dir, max_corrupt_images=2)
    assert result.is_accepted
    assert identities(data_dir) == before
    manifest = read_manifest(data_dir)
    assert manifest is not None
    assert manifest.num_examples("train") == 22


def test_repaired_images_are_listed(raw, data_dir):
    make_source(raw)
    (raw / "train_0.jpg").write_bytes(encode(picture(50, 40), "PNG"))
    run(make_source(raw), data_dir)
    text = (data_dir / "repaired_images.txt").read_text()
    assert text == "train train_0.jpg PNG encoded anew as JPEG\n"
    (raw / "train_0.jpg").write_bytes(encode(picture(50, 40)))
    run(make_source(raw), data_dir)
    assert not (data_dir / "repaired_images.txt").exists()


def test_an_image_that_cannot_be_read_stops_and_keeps_what_is_finished(raw, data_dir):
    source = make_source(raw)
    shutil.move(raw / "validation_6.jpg", raw / "gone")
    with pytest.raises(ConversionError, match=r"validation_6\.jpg: No such file"):
        run(source, data_dir)
    assert not list(data_dir.glob(".*partial"))
    assert read_manifest(data_dir) is None
    shutil.move(raw / "gone", raw / "validation_6.jpg")
    assert run(source, data_dir)[0].num_kept >= 4


def test_splits_one_after_the_other_share_a_manifest(raw, data_dir):
    run(make_source(raw, ["validation"]), data_dir)
    run(make_source(raw, ["train"]), data_dir)
    manifest = read_manifest(data_dir)
    assert manifest is not None
    assert {split: manifest.num_examples(split) for split in NUM_IMAGES} == NUM_IMAGES
    (raw / "train_5.jpg").unlink()
    source = make_source(raw, ["train"])
    (raw / "train_5.jpg").unlink()
    with pytest.raises(ConversionError):
        run(source, data_dir)
    manifest = read_manifest(data_dir)
    assert manifest is not None
    assert list(manifest.splits) == ["validation"]


def test_another_data_set_is_not_mixed_in(raw, data_dir):
    run(make_source(raw, ["validation"]), data_dir)
    other = replace(make_source(raw, ["train"]), class_names=("a", "b", "c"))
    with pytest.raises(ConversionError, match="holds 'pets' with 3 classes"):
        run(other, data_dir)


def test_shards_of_others_are_not_touched(raw, data_dir):
    data_dir.mkdir()
    (data_dir / "train-00000-of-00001").write_bytes(b"precious")
    with pytest.raises(ConversionError, match="train-00000-of-00001, which this converter has not"):
        run(make_source(raw), data_dir)
    (data_dir / "train-00000-of-00001").unlink()
    run(make_source(raw), data_dir)
    (data_dir / "train-00000-of-00001").write_bytes(b"precious")
    with pytest.raises(ConversionError, match="train-00000-of-00001 is of another set"):
        run(make_source(raw), data_dir)
    assert (data_dir / "train-00000-of-00001").read_bytes() == b"precious"


def test_more_shards_than_images_is_an_error(raw, data_dir):
    with pytest.raises(SourceError, match="7 validation images cannot fill 8 shards"):
        run(make_source(raw), data_dir, {"train": 4, "validation": 8})


def test_two_conversions_at_once(raw, data_dir):
    data_dir.mkdir()
    with (
        locked_directory(data_dir, data_dir / ".conversion"),
        pytest.raises(DirectoryLockedError, match=f"process {os.getpid()}") as caught,
    ):
        run(make_source(raw), data_dir)
    assert "\n" not in str(caught.value)
    run(make_source(raw), data_dir)


def test_a_disk_that_is_too_small_is_told_first(raw, data_dir, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(ConversionError, match=r"need about .* where 0\.0 GB are free"):
        run(make_source(raw), data_dir)
    assert not list(data_dir.glob("*-of-*"))


def test_what_interrupted_conversions_left_is_removed(raw, data_dir):
    run(make_source(raw), data_dir)
    (data_dir / ".train-00000-of-00004.123.partial").write_bytes(b"half")
    run(make_source(raw), data_dir)
    assert not (data_dir / ".train-00000-of-00004.123.partial").exists()


def test_the_journal_is_a_line_of_json_for_each_shard(raw, data_dir):
    run(make_source(raw), data_dir)
    journal = data_dir / ".conversion" / "finished_shards.jsonl"
    lines = [json.loads(line) for line in journal.read_text().split("\n") if line]
    assert sorted(line["shard"]["file"] for line in lines) == sorted(identities(data_dir))
