from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from download_and_convert_imagenet.check_shards import main
from download_and_convert_imagenet.records.manifest import Manifest, write_manifest
from download_and_convert_imagenet.records.shard_writer import write_shard
from tests.conftest import ROOT

TIMEOUT_SECS = 300


@pytest.fixture
def data_dir(tmp_path):
    shards = tuple(
        write_shard(tmp_path, "train", index, 3, [b"x" * 100 * (index + 1)]) for index in range(3)
    )
    validation = (write_shard(tmp_path, "validation", 0, 1, [b"y", b"z"]),)
    splits = {"train": shards, "validation": validation}
    write_manifest(tmp_path, Manifest("flowers", ("rose",), splits))
    return tmp_path


def test_intact(data_dir, capsys):
    assert main([str(data_dir)]) == 0
    assert capsys.readouterr().out == (
        "flowers: train 3 shards with 3 examples, validation 1 shards with 2 examples: "
        "as the manifest says\n"
    )


def test_every_damage_is_named(data_dir, capsys):
    first, second, third = sorted(data_dir.glob("train-*"))
    first.unlink()
    content = bytearray(second.read_bytes())
    content[40] ^= 1
    second.write_bytes(content)
    third.write_bytes(third.read_bytes()[:-1])
    stray = data_dir / "validation-00000-of-00002"
    stray.write_bytes(b"")
    assert main([str(data_dir), "--num_threads=2"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        f"{first}: is missing",
        f"{second}: has the right size, but another content",
        f"{third}: has 315 bytes, the manifest says 316",
        f"{stray}: is not in the manifest",
    ]
    assert lines[4].endswith("problems: 4")


def test_shards_of_a_split_that_the_manifest_does_not_list(data_dir, capsys):
    for index in range(2):
        write_shard(data_dir, "test", index, 2, [b"x"])
    (data_dir / "notes-of-00001").write_text("no shard")
    assert main([str(data_dir)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (f"{data_dir}: test is not in the manifest, but 2 of its shards are here")
    assert lines[1].endswith("problems: 1")


def checker(data_dir, **options):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "download_and_convert_imagenet.check_shards", data_dir],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_an_interrupt_is_one_line_and_waits_for_no_shard(data_dir):
    large = next(data_dir.glob("train-00001-*"))
    size = 10**13
    os.truncate(large, size)  # nothing but zeros, which take hours
    path = data_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    (shard,) = (entry for entry in manifest["splits"]["train"] if entry["file"] == large.name)
    shard["num_bytes"] = size
    path.write_text(json.dumps(manifest))
    process = checker(data_dir, stdout=subprocess.PIPE)
    opened = Path(f"/proc/{process.pid}/fd")
    deadline = time.monotonic() + TIMEOUT_SECS
    while not any(link.resolve() == large for link in opened.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed, message = process.communicate(timeout=TIMEOUT_SECS)
    assert (process.returncode, printed) == (130, "")
    assert message == "error: interrupted: not all shards were checked\n"


@pytest.mark.parametrize("is_damaged", [True, False])
def test_a_reader_that_has_seen_enough_is_no_error(data_dir, is_damaged):
    if is_damaged:
        for path in data_dir.glob("train-*"):
            path.unlink()
    ours, theirs = os.pipe()
    os.close(ours)
    process = checker(data_dir, stdout=theirs)
    os.close(theirs)
    _, message = process.communicate(timeout=TIMEOUT_SECS)
    assert (process.returncode, message) == (3 if is_damaged else 0, "")


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_number_of_threads_that_cannot_be_meant(data_dir, capsys, number):
    with pytest.raises(SystemExit) as stopped:
        main([str(data_dir), f"--num_threads={number}"])
    assert stopped.value.code == 2
    assert f"'{number}' is not a whole number of 1 or more" in capsys.readouterr().err


def test_no_manifest(tmp_path, capsys):
    assert main([str(tmp_path)]) == 3
    assert "manifest.json is missing" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text("{")
    assert main([str(tmp_path)]) == 3
    assert capsys.readouterr().err.startswith("error: ")
