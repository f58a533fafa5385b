from __future__ import annotations

import pytest

from common.errors import DataError
from download_and_convert_imagenet.records.manifest import Manifest, Shard, write_manifest
from preprocessing.records.shards import find_shards


def touch(directory, *names, content=b"x"):
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_bytes(content)


def test_shards_come_in_the_order_of_their_numbers(tmp_path):
    names = [f"train-{i:05d}-of-00012" for i in range(12)]
    touch(tmp_path, *reversed(names), "validation-00000-of-00001", "train-notes.txt")
    assert [path.name for path in find_shards(tmp_path, "train").paths] == names


def test_shards_in_a_folder_of_the_splits_name(tmp_path):
    touch(tmp_path / "validation", "validation-00000-of-00001")
    assert find_shards(tmp_path, "validation").paths == (
        tmp_path / "validation" / "validation-00000-of-00001",
    )


def test_unfinished_files_of_the_converter_are_no_shards(tmp_path):
    touch(tmp_path, "train-00000-of-00001", ".train-00000-of-00001.123.partial")
    assert len(find_shards(tmp_path, "train").paths) == 1


def error_of(directory, subset="train"):
    with pytest.raises(DataError) as caught:
        find_shards(directory, subset)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.exit_code == 3
    return line


def test_missing_directory(tmp_path):
    assert error_of(tmp_path / "nowhere") == f"data directory {tmp_path}/nowhere does not exist"


def test_a_file_instead_of_a_directory(tmp_path):
    touch(tmp_path, "file")
    assert error_of(tmp_path / "file").endswith("file is a file, not a directory")


def test_empty_directory(tmp_path):
    assert error_of(tmp_path) == f"data directory {tmp_path} is empty"


def test_raw_images_ask_for_a_conversion(tmp_path):
    touch(tmp_path / "n01440764", "n01440764_1.JPEG")
    assert "convert raw images with download_and_convert_imagenet" in error_of(tmp_path)


def test_the_other_split_is_named(tmp_path):
    touch(tmp_path, "validation-00000-of-00001")
    line = error_of(tmp_path)
    assert "holds validation shards but no train shards" in line


def test_missing_shards_are_counted_and_named(tmp_path):
    present = {f"train-{i:05d}-of-00008" for i in range(8)}
    gone = {f"train-{i:05d}-of-00008" for i in (1, 3, 4, 6)}
    touch(tmp_path, *(present - gone))
    line = error_of(tmp_path)
    assert "lacks 4 of 8 train shards" in line
    assert "train-00001-of-00008, train-00003-of-00008, train-00004-of-00008, ..." in line


def test_two_sets_in_one_directory(tmp_path):
    touch(tmp_path, "train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002")
    assert "several sets, -of-00001 and -of-00002" in error_of(tmp_path)


def test_a_number_beyond_the_set(tmp_path):
    touch(tmp_path, "train-00000-of-00001", "train-00001-of-00001")
    assert "train-00001-of-00001, whose number is beyond its set" in error_of(tmp_path)


def test_zero_length_shard(tmp_path):
    touch(tmp_path, "train-00000-of-00002")
    touch(tmp_path, "train-00001-of-00002", content=b"")
    assert "train-00001-of-00002 is empty (0 bytes)" in error_of(tmp_path)


def test_size_differs_from_the_manifest(tmp_path):
    touch(tmp_path, "train-00000-of-00001", content=b"cut")
    shard = Shard("train-00000-of-00001", 1, 30, "")
    write_manifest(tmp_path, Manifest("x", ("a",), {"train": (shard,)}))
    assert "has 3 bytes, its manifest says 30" in error_of(tmp_path)


def test_broken_manifest(tmp_path):
    touch(tmp_path, "train-00000-of-00001")
    touch(tmp_path, "manifest.json", content=b"{")
    assert "manifest.json cannot be read" in error_of(tmp_path)


def test_unknown_subset(tmp_path):
    assert error_of(tmp_path, "tests") == (
        "unknown data subset 'tests': choose from train, validation, test"
    )
