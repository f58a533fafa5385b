from __future__ import annotations

import gzip
import shutil
from collections import namedtuple

import pytest

from download_and_convert_imagenet.image_source import SourceError
from download_and_convert_imagenet.kaggle_archive import decompress

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
