from __future__ import annotations

import builtins
import gzip
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from common.errors import DataError
from download_and_convert_imagenet.__main__ import main
from download_and_convert_imagenet.sources.kaggle import (
    PlannedShards,
    decompress,
    list_kaggle_archive,
)
from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.imagenet_layouts import (
    KAGGLE_ARCHIVE,
    write_kaggle_archive,
)

CONTENT = b"tar of tars" * 1000
GB = 10**9
MEMORY_DISK = "/dev/shm"


def test_what_a_killed_command_left_counts_as_free(tmp_path, monkeypatch):
    path = tmp_path / "kaggle.tar.gz"
    path.write_bytes(gzip.compress(CONTENT))
    scratch = tmp_path / "raw-data"
    scratch.mkdir()
    left = scratch / ".kaggle.tar.partial"
    left.write_bytes(CONTENT[:5000])
    disk = namedtuple("disk", "total used free")
    capacity = path.stat().st_size

    def usage(directory):
        used = sum(file.stat().st_size for file in directory.iterdir())
        return disk(capacity, used, capacity - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    shards = PlannedShards(tmp_path, ["train"], 0)
    assert decompress(path, scratch, shards, print).read_bytes() == CONTENT
    assert not left.exists()
    with pytest.raises(DataError, match=r"needs more than .* in [^,]*, where .* GB are free"):
        decompress(path, scratch, shards, print)


@pytest.fixture
def free_space(monkeypatch):
    """Call it with the bytes that a disk is to have free."""
    disk = namedtuple("disk", "total used free")

    def set_free(num_bytes):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(500 * GB, 0, num_bytes))

    return set_free


@pytest.fixture
def large_archive(tmp_path):
    """160 GB on paper; nothing is in it, which is reported when it is decompressed."""
    path = tmp_path / "kaggle.tar.gz"
    path.write_bytes(b"nothing")
    os.truncate(path, 160 * GB)
    return path


def test_the_shards_are_counted_before_hours_of_decompressing(tmp_path, large_archive, free_space):
    lines = []
    scratch, shards = tmp_path / "raw-data", PlannedShards(tmp_path, ["train"], 150 * GB)
    needed = (
        rf"than 160\.0 GB in {scratch}, and its shards about 150\.0 GB on the same disk, where 309"
    )
    free_space(309 * GB)
    with pytest.raises(DataError, match=needed):
        decompress(large_archive, scratch, shards, lines.append)
    assert lines == []
    free_space(311 * GB)
    with pytest.raises(DataError, match="incomplete or damaged"):
        decompress(large_archive, scratch, shards, lines.append)
    assert lines[0].startswith("decompressing")


def test_older_shards_make_room_for_their_successors(tmp_path, large_archive, free_space):
    (tmp_path / "train-00000-of-00001").touch()
    os.truncate(tmp_path / "train-00000-of-00001", 40 * GB)
    free_space(280 * GB)
    shards = PlannedShards(tmp_path, ["train"], 150 * GB)
    with pytest.raises(DataError, match="incomplete or damaged"):
        decompress(large_archive, tmp_path / "raw-data", shards, print)
    with pytest.raises(DataError, match=r"its shards about 150\.0 GB"):
        decompress(
            large_archive, tmp_path / "raw-data", shards._replace(splits=["validation"]), print
        )


def test_shards_on_another_disk_are_not_counted(tmp_path, large_archive, free_space):
    if os.stat(MEMORY_DISK).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip(f"{MEMORY_DISK} is on the disk of temporary files")
    free_space(161 * GB)
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as data_dir:
        shards = PlannedShards(Path(data_dir), ["train"], 150 * GB)
        with pytest.raises(DataError, match="incomplete or damaged"):
            decompress(large_archive, tmp_path / "raw-data", shards, print)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), r"and its shards about 154\.6 GB on the same disk"),
        (("--split=train",), r"and its shards about 147\.9 GB on the same disk"),
        (("--split=validation",), r"and its shards about 6\.7 GB on the same disk"),
    ],
)
def test_the_command_counts_the_shards_of_its_splits(
    tmp_path, large_archive, free_space, capsys, options, message
):
    large_archive.rename(tmp_path / KAGGLE_ARCHIVE)
    free_space(161 * GB)
    assert main([str(tmp_path), *options]) == 3
    assert re.search(message, capsys.readouterr().err)


def test_the_boxes_are_read_from_an_archive_that_is_opened_once(tmp_path, monkeypatch):
    fake = make_fake_imagenet(5, largest_size=(60, 40))
    compressed = write_kaggle_archive(fake, tmp_path) / KAGGLE_ARCHIVE
    path = decompress(
        compressed, tmp_path / "raw-data", PlannedShards(tmp_path, ["train"], 0), print
    )
    listed = list_kaggle_archive(path)
    opened = []

    def watched(file, *arguments, **keywords):
        opened.append(str(file))
        return original(file, *arguments, **keywords)

    original = open
    monkeypatch.setattr(builtins, "open", watched)
    monkeypatch.setattr(io, "open", watched)
    boxes = listed.boxes()
    monkeypatch.undo()
    assert {stem: found for stem, found in boxes.items() if found} == fake.boxes
    assert len(listed.annotations) > 1
    assert opened.count(str(path)) == 1
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(OSError, match="ends before byte"):
        listed.boxes()


def test_what_is_not_used_is_counted_by_folder(tmp_path):
    names = [f"ILSVRC/Data/CLS-LOC/test/{k}.JPEG" for k in range(3)]
    names += ["ILSVRC/Data/CLS-LOC/val/1.JPEG", "ILSVRC/Data/CLS-LOC/val/notes.txt"]
    with tarfile.open(tmp_path / "kaggle.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    listed = list_kaggle_archive(tmp_path / "kaggle.tar")
    assert len(listed.validation) == 1
    assert [(reason, number) for _, reason, number in listed.left_out()] == [
        (".JPEG in ILSVRC/Data/CLS-LOC/test", 3),
        (".txt in ILSVRC/Data/CLS-LOC/val", 1),
    ]
