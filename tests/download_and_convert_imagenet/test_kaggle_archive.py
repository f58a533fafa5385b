from __future__ import annotations

import builtins
import gzip
import io
import shutil
from collections import namedtuple

import pytest

from download_and_convert_imagenet.image_source import SourceError
from download_and_convert_imagenet.kaggle_archive import decompress, list_kaggle_archive
from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.imagenet_layouts import (
    KAGGLE_ARCHIVE,
    write_kaggle_archive,
)

CONTENT = b"tar of tars" * 1000


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
    assert decompress(path, scratch, print).read_bytes() == CONTENT
    assert not left.exists()
    with pytest.raises(SourceError, match=r"needs more than .* GB are free"):
        decompress(path, scratch, print)


def test_the_boxes_are_read_from_an_archive_that_is_opened_once(tmp_path, monkeypatch):
    fake = make_fake_imagenet(5, largest_size=(60, 40))
    compressed = write_kaggle_archive(fake, tmp_path) / KAGGLE_ARCHIVE
    path = decompress(compressed, tmp_path / "raw-data", print)
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
