from __future__ import annotations

import hashlib
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from common.errors import DataError
from download_and_convert_imagenet.records.manifest import read_manifest
from tests.download_and_convert_imagenet.records.encoded_images import encode, picture
from tests.download_and_convert_imagenet.small_conversions import (
    CLASSES,
    NUM_IMAGES,
    NUM_SHARDS,
    identities,
    make_source,
    read_examples,
    run,
)


def test_every_image_is_in_one_shard_as_it_was(raw, data_dir):
    source = make_source(raw)
    _, progress = run(source, data_dir)
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
    assert progress.total == progress.advanced
    assert progress.total[0] == 30
    assert progress.total[1] == sum(path.stat().st_size for path in raw.iterdir())


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


def test_corrupt_images_are_left_out_and_listed_after_everything_else(raw, data_dir):
    make_source(raw)
    (raw / "train_3.jpg").write_bytes(b"")
    (raw / "validation_2.jpg").write_bytes((raw / "validation_2.jpg").read_bytes()[:-30])
    source = make_source(raw)
    result, progress = run(source, data_dir, max_corrupt_images=1)
    assert not result.is_accepted
    assert sum(shard.shard.num_examples for shard in result.shards) == 28
    assert progress.advanced == progress.total
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
    result, _ = run(source, data_dir, max_corrupt_images=1)
    assert not result.is_accepted
    assert identities(data_dir) == before
    assert read_manifest(data_dir) is None


def test_lists_name_the_images_of_splits_that_were_converted_before(raw, data_dir):
    make_source(raw)
    (raw / "train_0.jpg").write_bytes(encode(picture(50, 40), "PNG"))
    (raw / "train_3.jpg").write_bytes(b"")
    (raw / "validation_2.jpg").write_bytes(b"")
    corrupt, repaired = data_dir / "corrupt_images.txt", data_dir / "reencoded_images.txt"
    train = "train train_3.jpg is empty (0 bytes)\n"
    assert not run(make_source(raw, ["train"]), data_dir)[0].is_accepted
    assert corrupt.read_text() == train
    result, _ = run(make_source(raw, ["validation"]), data_dir, max_corrupt_images=1)
    assert result.is_accepted
    assert corrupt.read_text() == f"{train}validation validation_2.jpg is empty (0 bytes)\n"
    assert repaired.read_text() == "train train_0.jpg PNG encoded again as JPEG\n"
    manifest = read_manifest(data_dir)
    assert manifest is not None
    assert list(manifest.splits) == ["validation"]
    (raw / "train_3.jpg").write_bytes(encode(picture(50, 40)))
    run(make_source(raw, ["train"]), data_dir)
    assert corrupt.read_text() == "validation validation_2.jpg is empty (0 bytes)\n"
    for path in data_dir.glob("validation-*"):
        path.unlink()
    run(make_source(raw, ["train"]), data_dir)
    assert not corrupt.exists()


def test_a_shard_without_any_example_is_an_error(raw, data_dir):
    make_source(raw)
    for number in range(1, NUM_IMAGES["validation"]):
        (raw / f"validation_{number}.jpg").write_bytes(b"")
    source = make_source(raw)
    shards = {"train": 4, "validation": 2}
    assert not run(source, data_dir, shards, max_corrupt_images=5)[0].is_accepted
    with pytest.raises(DataError, match=r"is empty.*use fewer --validation_shards") as caught:
        run(source, data_dir, shards, max_corrupt_images=6)
    assert "\n" not in str(caught.value)
    assert read_manifest(data_dir) is None
    assert (data_dir / "corrupt_images.txt").read_text().count("\n") == 6
    shards["validation"] = 1
    assert run(source, data_dir, shards, max_corrupt_images=6)[0].is_accepted


def test_reencoded_images_are_listed(raw, data_dir):
    make_source(raw)
    (raw / "train_0.jpg").write_bytes(encode(picture(50, 40), "PNG"))
    run(make_source(raw), data_dir)
    text = (data_dir / "reencoded_images.txt").read_text()
    assert text == "train train_0.jpg PNG encoded again as JPEG\n"
    (raw / "train_0.jpg").write_bytes(encode(picture(50, 40)))
    run(make_source(raw), data_dir)
    assert not (data_dir / "reencoded_images.txt").exists()


def test_more_shards_than_images_is_an_error(raw, data_dir):
    with pytest.raises(DataError, match="7 validation images cannot fill 8 shards"):
        run(make_source(raw), data_dir, {"train": 4, "validation": 8})


def test_a_disk_that_is_too_small_is_reported_first(raw, data_dir, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(DataError, match=r"need about .* where 0\.0 GB are free"):
        run(make_source(raw), data_dir)
    assert not list(data_dir.glob("*-of-*"))
