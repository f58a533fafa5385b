"""Damaged data through train.py and eval.py: file and record named, exit code 3, no hang."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import eval as evaluation
import train
from tests.conftest import ROOT
from tests.preprocessing.image_shards import (
    encode,
    example,
    flip_bit,
    offset_of,
    write_listed,
    write_split,
)

NUM_EXAMPLES, NUM_SHARDS = 24, 3
FLAGS = ["--device=cpu", "--model=lenet", "--batch_size=4", "--data_name=imagenet"]
TIMEOUT_SECS = 240  # a command takes about ten on a quiet core


def _named(serialized: bytes, name: str) -> bytes:
    message = tf.train.Example.FromString(serialized)
    message.features.feature["image/filename"].bytes_list.value.append(name.encode())
    return message.SerializeToString()


def _examples(split: str, replaced: dict[int, bytes] | None = None) -> list[bytes]:
    """Valid examples with ImageNet's names; the two splits have different pixels."""
    random = np.random.default_rng(len(split))
    records = []
    for number in range(NUM_EXAMPLES):
        pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        if split == "train":
            name = f"n01440764_{number}.JPEG"
        records.append(_named(example(encode(pixels), 1 + number), name))
    for number, record in (replaced or {}).items():
        records[number] = record
    return records


def _write(directory, replaced_in=None, replaced=None):
    for split in ("train", "validation"):
        records = _examples(split, replaced if split == replaced_in else None)
        write_split(directory, split, records, NUM_SHARDS)


def _shard(directory, split, index=1):
    return directory / f"{split}-{index:05d}-of-{NUM_SHARDS:05d}"


def _truncate(directory, split):
    path = _shard(directory, split)
    path.write_bytes(path.read_bytes()[:-5])
    return f"{path}: record 7 at byte {offset_of(path, 7)} is damaged"


def _flip_bit(directory, split):
    path = _shard(directory, split)
    offset = offset_of(path, 2)
    flip_bit(path, offset + 50)
    return f"{path}: record 2 at byte {offset} is damaged"


def _empty(directory, split):
    path = _shard(directory, split)
    path.write_bytes(b"")
    return f"{path} is empty (0 bytes)"


def _remove(directory, split):
    _shard(directory, split).unlink()
    return f"{directory} lacks 1 of 3 {split} shards: {split}-00001-of-00003"


def _relabel(label):
    def damage(directory, split):
        random = np.random.default_rng(9)
        record = example(encode(random.integers(0, 256, (30, 40, 3), np.uint8)), label)
        _write(directory, split, {10: record})
        path = _shard(directory, split)
        return f"{path}: record 2: image/class/label is {label}, not from 1 to 1000"

    return damage


def _no_bytes(directory, split):
    _write(directory, split, {10: example(b"", 5)})
    problem = "image/encoded holds no JPEG, PNG, GIF or BMP image"
    return f"{_shard(directory, split)}: record 2: {problem}"


def _exchange(directory, split):
    """A shard of the other split under a name of this one."""
    other = "validation" if split == "train" else "train"
    path = _shard(directory, split)
    path.write_bytes(_shard(directory, other, 0).read_bytes())
    name = {"train": "n01440764_0.JPEG", "validation": "ILSVRC2012_val_00000000.JPEG"}[other]
    return f"{path}: record 0: {name} is an image of the {other} split, not of {split}"


def _exchange_with_manifest(directory, split):
    write_listed(directory, NUM_EXAMPLES // NUM_SHARDS)
    _exchange(directory, split)
    path = _shard(directory, split)
    return f"{path} has {path.stat().st_size} bytes, its manifest says"


def _stray(directory, split):
    """A folder of each split, and a shard of the other one in this one's."""
    other = "validation" if split == "train" else "train"
    for name in ("train", "validation"):
        (directory / name).mkdir()
        for path in sorted(directory.glob(f"{name}-*")):
            path.rename(directory / name / path.name)
    stray = _shard(directory / other, other, 0)
    stray.rename(directory / split / stray.name)
    return f"{directory / split} holds {stray.name} among its {split} shards"


DAMAGES = {
    "truncated shard": _truncate,
    "flipped bit": _flip_bit,
    "empty shard": _empty,
    "missing shard": _remove,
    "label 0": _relabel(0),
    "label 1001": _relabel(1001),
    "JPEG of no bytes": _no_bytes,
    "shard of the other split": _exchange,
    "shard of the other split, with a manifest": _exchange_with_manifest,
    "shard of the other split in the folder": _stray,
}
# One of each way in which a problem is found; the slow test has them all.
QUICK = [
    ("flipped bit", "train"),
    ("label 1001", "train"),
    ("truncated shard", "validation"),
    ("JPEG of no bytes", "validation"),
    *((damage, "validation") for damage in DAMAGES if "other split" in damage),
    ("missing shard", "train"),
    ("empty shard", "validation"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run to evaluate, trained for one step on intact data."""
    directory = tmp_path_factory.mktemp("intact")
    _write(directory)
    argv = [*FLAGS, f"--data_dir={directory}", f"--train_dir={directory / 'run'}"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main([*argv, "--num_batches=1"]) == 0
    return directory / "run"


@pytest.fixture
def data_dir(tmp_path):
    _write(tmp_path)
    return tmp_path


def _arguments(split, data_dir, run):
    """Flags that have a whole epoch of the split read."""
    if split == "train":
        return [*FLAGS, f"--data_dir={data_dir}", "--num_batches=6"]
    # Another directory than that of the run, whose name is unknown.
    data = [f"--data_dir={data_dir}", "--data_name=imagenet"]
    return ["--device=cpu", f"--train_dir={run}", *data, "--batch_size=4"]


@pytest.mark.parametrize(("damage", "split"), QUICK)
def test_damage_is_named(data_dir, run, capsys, damage, split):
    expected = DAMAGES[damage](data_dir, split)
    main = train.main if split == "train" else evaluation.main
    assert main(_arguments(split, data_dir, run)) == 3
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, errors
    assert lines[0].startswith(f"error: {expected}")
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_by_the_command(data_dir, run, damage, split):
    expected = DAMAGES[damage](data_dir, split)
    program = "train.py" if split == "train" else "eval.py"
    done = _command(program, *_arguments(split, data_dir, run))
    assert done.returncode == 3, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"error: {expected}")
    assert "Traceback" not in done.stderr


def _command(program, *argv):
    return subprocess.run(
        [sys.executable, program, *argv],
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECS, env=os.environ,
    )  # fmt: skip


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.slow), "validation"])
def test_allowed_damage_is_counted(data_dir, run, split):
    """The real command, whose standard error carries the count; two records of 24 are skipped."""
    _flip_bit(data_dir, split)
    first = _shard(data_dir, split, 0)
    flip_bit(first, offset_of(first, 5) + 30)
    program = "train.py" if split == "train" else "eval.py"
    argv = _arguments(split, data_dir, run)
    done = _command(program, *argv, "--max_corrupt_records=2")
    assert done.returncode == 0, done.stderr
    for path in (first, _shard(data_dir, split)):
        assert f"skipping 1 of the records of {path.name}: {path}: record" in done.stderr
    if split == "train":
        steps = re.findall(r"^(\d+)\timages/sec", done.stdout, re.MULTILINE)
        assert steps[0] == "1"
        assert "total images/sec" in done.stdout
    else:
        assert f"[{NUM_EXAMPLES - 2} examples]" in done.stdout


def test_an_allowed_invalid_record_is_counted(data_dir, run):
    """The real command: a label out of range, and in another shard an image of no bytes."""
    _write(data_dir, "validation", {2: example(b"", 1), 10: example(b"", 1001)})
    argv = _arguments("validation", data_dir, run)
    done = _command("eval.py", *argv, "--max_corrupt_records=2")
    assert done.returncode == 0, done.stderr
    for index, problem in ((0, "image/encoded holds no"), (1, "image/class/label is 1001")):
        path = _shard(data_dir, "validation", index)
        assert (
            f"skipping 1 of the records of {path.name}: {path}: record 2: {problem}" in done.stderr
        )
    assert f"[{NUM_EXAMPLES - 2} examples]" in done.stdout


def test_a_shard_that_is_cut_off_is_counted_by_the_manifest(data_dir, run, capsys):
    """It ends with record 5 of 8: only the manifest knows of the other two."""
    write_listed(data_dir, NUM_EXAMPLES // NUM_SHARDS)
    path = _shard(data_dir, "validation")
    path.write_bytes(path.read_bytes()[: offset_of(path, 6)])
    argv = _arguments("validation", data_dir, run)
    assert evaluation.main([*argv, "--max_corrupt_records=2"]) == 0
    assert f"[{NUM_EXAMPLES - 2} examples]" in capsys.readouterr().out
    assert evaluation.main([*argv, "--max_corrupt_records=1"]) == 3
    assert "error: 2 records are damaged, --max_corrupt_records=1: " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "validation"])
def test_one_damaged_record_more_than_allowed(data_dir, run, split):
    _flip_bit(data_dir, split)
    first = _shard(data_dir, split, 0)
    first.write_bytes(first.read_bytes()[:-3])
    program = "train.py" if split == "train" else "eval.py"
    done = _command(program, *_arguments(split, data_dir, run), "--max_corrupt_records=1")
    assert done.returncode == 3, done.stderr
    assert "error: 2 records are damaged, --max_corrupt_records=1: " in done.stderr
