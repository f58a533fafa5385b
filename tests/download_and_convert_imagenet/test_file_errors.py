"""Whatever goes wrong on a disk, the message names the file that it went wrong with."""

from __future__ import annotations

import errno
import gzip

import pytest

from common.errors import DataError
from common.files import naming
from download_and_convert_imagenet.data_directory import locked
from download_and_convert_imagenet.journal import (
    REENCODED_IMAGES_FILE,
    ConversionJournal,
    FinishedShard,
    ImageNote,
    write_image_lists,
)
from download_and_convert_imagenet.records.manifest import Manifest, Shard, write_manifest
from download_and_convert_imagenet.records.shard_writer import write_shard
from download_and_convert_imagenet.sources.bounding_boxes import read_boxes
from download_and_convert_imagenet.sources.cifar10 import cifar10_source
from download_and_convert_imagenet.sources.image_source import ArchiveRange, ImageFile
from download_and_convert_imagenet.sources.kaggle import PlannedShards, decompress
from download_and_convert_imagenet.sources.tar import tar_members
from tests.download_and_convert_imagenet.bad_disks import break_sectors, full_disk
from tests.download_and_convert_imagenet.small_conversions import make_source, run


def list_members(path):
    with path.open("rb") as file:
        list(tar_members(file.fileno(), str(path), num_bytes=1024))


def decompress_to_scratch(path):
    decompress(
        path, path.parent / "scratch", PlannedShards(path.parent, ["train"], 10**9), [].append
    )


READERS = {
    "image": ("1.jpg", lambda path: ImageFile(str(path), 10, 0).read()),
    "image in an archive": ("1.tar", lambda path: ArchiveRange(str(path), 0, 10, 0).read()),
    "headers of an archive": ("1.tar", list_members),
    "boxes in an archive": ("boxes.tar.gz", read_boxes),
    "boxes in a list": ("boxes.csv", read_boxes),
    "boxes in a folder": ("n01440764_1.xml", lambda path: read_boxes(path.parent)),
    "batch": ("test_batch", lambda path: cifar10_source(path.parent)),
    "compressed archive": ("kaggle.tar.gz", decompress_to_scratch),
    "journal": (
        ".conversion/finished_shards.jsonl",
        lambda path: ConversionJournal.splits_begun(path.parents[1]),
    ),
}


@pytest.mark.parametrize("kind", READERS)
def test_the_error_of_a_bad_sector_names_the_file(tmp_path, kind):
    name, read = READERS[kind]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    path = break_sectors(tmp_path / name)
    with pytest.raises(OSError, match="Input/output error") as caught:
        read(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(path))


def test_a_shard_is_not_blamed_for_an_image(raw, data_dir):
    make_source(raw)
    path = break_sectors(raw / "train_3.jpg")
    with pytest.raises(DataError, match=f"^{path}: Input/output error$"):
        run(make_source(raw), data_dir)


def test_a_shard_is_not_blamed_for_an_archive_that_has_become_shorter(tmp_path):
    (tmp_path / "1.tar").write_bytes(b"short")
    with pytest.raises(OSError, match="ends before byte 10") as caught:
        ArchiveRange(str(tmp_path / "1.tar"), 0, 10, 0).read()
    assert caught.value.filename == str(tmp_path / "1.tar")


def write_lists(data_dir):
    shard = Shard("train-00000-of-00001", 1, 1, "")
    notes = (ImageNote("1.jpg", "PNG encoded again as JPEG"),)
    write_image_lists(data_dir, [FinishedShard("train", shard, "", 0, notes, ())])


def write_journal(data_dir):
    ConversionJournal(data_dir).begin(["train"])


def lock(data_dir):
    with locked(data_dir):
        pass


def decompress_there(data_dir):
    shards = PlannedShards(data_dir, ["train"], 10**9)
    decompress(data_dir.parent / "kaggle.tar.gz", data_dir, shards, [].append)


WRITERS = {
    "lock": (".conversion/lock", lock),
    "plain archive": ("kaggle.tar", decompress_there),
    "shard": (
        "train-00000-of-00001",
        lambda data_dir: write_shard(data_dir, "train", 0, 1, [b"x" * 100]),
    ),
    "journal": (".conversion/finished_shards.jsonl", write_journal),
    "list": (REENCODED_IMAGES_FILE, write_lists),
    "manifest": (
        "manifest.json",
        lambda data_dir: write_manifest(data_dir, Manifest("pets", ("cat",), {})),
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_reported_with_the_file_that_is_written(tmp_path, data_dir, kind):
    name, write = WRITERS[kind]
    data_dir.mkdir()
    (tmp_path / "kaggle.tar.gz").write_bytes(gzip.compress(b"x" * 100))
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        write(data_dir)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(data_dir / name))
    assert not list(data_dir.glob(".*partial"))


def test_the_innermost_file_is_named_and_other_errors_are_left_alone():
    with pytest.raises(OSError, match="inner"), naming("outer"), naming("inner"):
        raise OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="of this package") as caught, naming("outer"):
        raise OSError("of this package")
    assert caught.value.filename is None
