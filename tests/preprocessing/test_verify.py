"""`python -m preprocessing.verify` on real, partly damaged files."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from download_and_convert_imagenet.records.manifest import Manifest, Shard, write_manifest
from preprocessing import verify
from preprocessing.integrity import shard_check
from preprocessing.integrity.contents import verify_shard
from preprocessing.records.tfrecord import walk_records
from tests.conftest import ROOT
from tests.preprocessing.image_shards import (
    damaged_within,
    directory_whose_name_is_no_text,
    example,
    flip_bit,
    numbered_image,
    offset_of,
    photographs,
    write_listed,
    write_numbered_split,
    write_split,
)


def run(capsys, *arguments):
    code = verify.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out.splitlines()


def test_intact_data(tmp_path, capsys):
    write_numbered_split(tmp_path, "train", 1003, num_shards=3)
    validation = [example(numbered_image(2000 + n), 1 + n) for n in range(10)]
    write_split(tmp_path, "validation", validation, num_shards=1)
    code, lines = run(capsys, tmp_path, "--data_name=imagenet", "--decode")
    assert code == 0
    assert len(lines) == 2
    assert lines[0].startswith("train: 3 shards,")
    assert "1,003 examples (all of ImageNet: 1,281,167)" in lines[0]
    assert lines[0].endswith("1000 of 1000 classes with 1 to 2 examples each: intact")
    assert "10 examples (all of ImageNet: 50,000), 10 to 10 a shard, 10 of 1000" in lines[1]


def test_every_problem_is_named(tmp_path, capsys):
    """One file with every kind of problem, between valid records."""
    (photograph,) = photographs(1)
    cut_photograph = photograph[: len(photograph) // 2]
    examples = [example(numbered_image(n), 1 + n) for n in range(12)]
    examples[2] = example(numbered_image(2), 0)
    examples[4] = example(b"no image", 5)
    examples[6] = b"\xff no example"
    examples[8] = example(cut_photograph, 9)
    examples[9] = example(damaged_within(numbered_image(9)), 10)
    (path,) = write_split(tmp_path, "train", examples, 1)
    offset = offset_of(path, 10)
    flip_bit(path, offset + 20)

    code, lines = run(capsys, tmp_path, "--data_name=imagenet", "--decode")
    assert code == 3
    assert sorted(lines[:-1]) == sorted(
        [
            f"{path}: record 10 at byte {offset} is damaged (the checksum of its data differs)",
            f"{path}: record 2: image/class/label is 0, not from 1 to 1000",
            f"{path}: record 4: image/encoded holds no JPEG, PNG, GIF or BMP image",
            f"{path}: record 6: it is not a tf.train.Example",
            f"{path}: record 8: its image cannot be decoded",
            f"{path}: record 9: its image cannot be decoded",
        ]
    )
    assert lines[-1].endswith("6 of 1000 classes with 0 to 1 examples each: problems: 6")

    code, sampled = run(capsys, tmp_path, "--data_name=imagenet")
    assert code == 3
    # Without --decode the image with the right ends passes, the cut photograph does not.
    assert sampled[:-1] == [line for line in lines[:-1] if "record 9:" not in line]


def test_records_after_a_damaged_header_are_checked(tmp_path, capsys):
    (path,) = write_numbered_split(tmp_path, "train", 10, 1)
    offsets = [span.offset for span in walk_records(path)]
    flip_bit(path, offsets[3])
    flip_bit(path, offsets[7] + 15)
    _, lines = run(capsys, tmp_path, "--data_name=imagenet")
    assert [line.split(" is damaged")[0] for line in lines[:-1]] == [
        f"{path}: record 3 at byte {offsets[3]}",
        f"{path}: record 7 at byte {offsets[7]}",
    ]
    assert "8 examples" in lines[-1]


def test_counts_are_compared_with_the_manifest(tmp_path, capsys):
    (path,) = write_numbered_split(tmp_path, "train", 5, 1)
    shard = Shard(path.name, 6, path.stat().st_size, "")
    write_manifest(tmp_path, Manifest("flowers", ("a",) * 1000, {"train": (shard,)}))
    code, lines = run(capsys, tmp_path)
    assert code == 3
    assert lines[0] == f"{path}: 5 intact records, the manifest says 6"
    assert "ImageNet" not in lines[-1]


def write_both_splits(directory, validation_from=1000):
    write_numbered_split(directory, "train", 10, 2)
    examples = [example(numbered_image(validation_from + n), 1 + n) for n in range(10)]
    return write_split(directory, "validation", examples, 2)


def bytes_read():
    """By this process so far, from files and their cache."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().removeprefix("rchar:"))


def test_a_file_of_nothing_but_problems_is_read_once(tmp_path, capsys):
    """Once and a few times more, not as often as there are problems, which took minutes."""
    (photograph,) = photographs(1)
    bad = [example(numbered_image(1), 0), example(photograph[:300], 1)] * 1500
    (path,) = write_split(tmp_path, "train", bad, 1)
    before = bytes_read()
    code, lines = run(capsys, tmp_path, "--data_name=imagenet", "--decode")
    assert (code, len(lines)) == (3, 3001)
    assert bytes_read() - before < 100 * path.stat().st_size


def test_files_are_compared_with_the_manifest(tmp_path, capsys):
    """Two whole records exchanged: every checksum in the file fits, but that of the file."""
    write_both_splits(tmp_path)
    write_listed(tmp_path, 5)
    assert run(capsys, tmp_path)[0] == 0
    path = tmp_path / "train-00001-of-00002"
    content = path.read_bytes()
    second, third = (span.offset for span in list(walk_records(path))[1:3])
    path.write_bytes(content[second:third] + content[:second] + content[third:])
    code, lines = run(capsys, tmp_path)
    assert code == 3
    assert lines[0].startswith(f"{path}: every record is intact, but it is not the file of the")


def test_a_file_that_the_manifest_does_not_list(tmp_path, capsys):
    write_numbered_split(tmp_path, "train", 5, 1)
    write_listed(tmp_path, 5)
    (tmp_path / "train-00000-of-00001").rename(tmp_path / "train-00000-of-00002")
    write_numbered_split(tmp_path / "other", "train", 10, 2)[1].rename(
        tmp_path / "train-00001-of-00002"
    )
    code, lines = run(capsys, tmp_path)
    assert code == 3
    assert lines[:3] == [
        f"{tmp_path}/train-00000-of-00001 is missing, the manifest has it",
        f"{tmp_path}/train-00000-of-00002 is not in the manifest",
        f"{tmp_path}/train-00001-of-00002 is not in the manifest",
    ]


def test_a_train_shard_among_validation_is_found_by_its_images(tmp_path, capsys):
    """Without names and manifest: the second validation file holds the pixels of training."""
    write_both_splits(tmp_path)
    path = tmp_path / "validation-00001-of-00002"
    path.write_bytes((tmp_path / "train-00000-of-00002").read_bytes())
    code, lines = run(capsys, tmp_path, "--data_name=imagenet")
    assert code == 3
    assert lines[-2:] == [
        f"{path}: record 0: its image, and those of 5 of 5 records, are in the train split too",
        "images in both splits: 5",
    ]


def test_a_few_images_in_both_splits_are_no_problem(tmp_path, capsys):
    write_numbered_split(tmp_path, "train", 101, 3)
    examples = [example(numbered_image(100 + n), 1) for n in range(20)]
    write_split(tmp_path, "validation", examples, 1)
    code, lines = run(capsys, tmp_path, "--data_name=imagenet")
    assert code == 0
    assert lines[-1] == "images in both splits: 1"


def test_a_train_image_among_validation_is_found_by_its_name(tmp_path, capsys):
    examples = [example(numbered_image(n), 1) for n in range(6)]
    message = tf.train.Example.FromString(examples[4])
    name = message.features.feature["image/filename"].bytes_list.value
    name.append(b"n01440764_10026.JPEG")
    examples[4] = message.SerializeToString()
    (path,) = write_split(tmp_path, "validation", examples, 1)
    code, lines = run(capsys, tmp_path, "--data_name=imagenet")
    assert code == 3
    message = "n01440764_10026.JPEG is an image of the train split, not of validation"
    assert lines[0] == f"{path}: record 4: {message}"
    assert lines[1].endswith("problems: 1")


@pytest.mark.parametrize(("decode_every", "num_found"), [(0, 0), (1, 12), (5, 3)])
def test_a_sample_is_decoded(tmp_path, capsys, decode_every, num_found):
    """Twelve images damaged between their ends; one in five of them is numbers 0, 5 and 10."""
    examples = [example(damaged_within(numbered_image(n)), 1) for n in range(12)]
    write_split(tmp_path, "train", examples, 1)
    flags = ["--data_name=imagenet", f"--decode_every={decode_every}"]
    _, lines = run(capsys, tmp_path, *flags)
    assert len([line for line in lines if "cannot be decoded" in line]) == num_found


@pytest.mark.parametrize("decode_every", [0, 1, 5])
def test_images_that_are_cut_off_are_found_whatever_the_sample(tmp_path, capsys, decode_every):
    examples = [example(encoded[: len(encoded) // 2], 1) for encoded in photographs(12)]
    write_split(tmp_path, "train", examples, 1)
    flags = ["--data_name=imagenet", f"--decode_every={decode_every}"]
    _, lines = run(capsys, tmp_path, *flags)
    assert len([line for line in lines if "cannot be decoded" in line]) == 12


def test_counts_by_shard_and_class(tmp_path, capsys):
    labels = [1, 1, 3, 1000]
    examples = [example(numbered_image(n), label) for n, label in enumerate(labels)]
    write_split(tmp_path, "train", examples, 3)
    _, lines = run(capsys, tmp_path, "--data_name=imagenet", "--counts")
    assert "1 to 2 a shard" in lines[0]
    assert lines[1:4] == [f"train-0000{n}-of-00003\t{count}" for n, count in enumerate((2, 1, 1))]
    counts = dict(line.removeprefix("train label ").split("\t") for line in lines[4:])
    assert len(counts) == 1000
    assert {label: n for label, n in counts.items() if n != "0"} == {
        "1": "2",
        "3": "1",
        "1000": "1",
    }


def test_one_split_alone(tmp_path, capsys):
    write_numbered_split(tmp_path, "validation", 3, 1)
    assert run(capsys, tmp_path, "--data_name=imagenet")[0] == 0
    assert verify.main([str(tmp_path), "--data_name=imagenet", "--split=train"]) == 3
    assert "error: " in capsys.readouterr().err


def test_a_split_that_is_gone_altogether(tmp_path, capsys):
    """The other one is checked nevertheless."""
    write_both_splits(tmp_path)
    write_listed(tmp_path, 5)
    for path in tmp_path.glob("validation-*"):
        path.unlink()
    code, lines = run(capsys, tmp_path)
    assert code == 3
    assert lines[0] == f"{tmp_path} holds no validation shards, the manifest has 2"
    assert lines[1].startswith("train: 2 shards")


def test_a_split_that_the_manifest_does_not_list(tmp_path, capsys):
    write_both_splits(tmp_path)
    write_listed(tmp_path, 5)
    content = json.loads((tmp_path / "manifest.json").read_text())
    del content["splits"]["validation"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    code, lines = run(capsys, tmp_path)
    assert code == 3
    assert f"{tmp_path}: the manifest does not list the validation shards" in lines


@pytest.mark.parametrize("flag", ["--num_threads=0", "--decode_every=-1", "--num_threads=x"])
def test_invalid_numbers(tmp_path, capsys, flag):
    with pytest.raises(SystemExit) as caught:
        verify.main([str(tmp_path), flag])
    assert caught.value.code == 2
    assert flag.split("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["dangling link", "directory", "empty"])
def test_a_shard_that_cannot_be_read(tmp_path, capsys, kind):
    """The others are checked nevertheless."""
    path, other = write_numbered_split(tmp_path, "train", 4, 2)
    other.write_bytes(other.read_bytes()[:-1])
    offset = [span.offset for span in walk_records(other)][1]
    path.unlink()
    if kind == "dangling link":
        path.symlink_to("gone")
    else:
        path.write_bytes(b"") if kind == "empty" else path.mkdir()
    code, lines = run(capsys, tmp_path, "--data_name=imagenet", "--counts")
    assert code == 3
    message = "is empty (0 bytes)" if kind == "empty" else "cannot be read: "
    assert lines[0].startswith(f"{path} {message}")
    assert lines[1] == f"{other}: record 1 at byte {offset} is damaged (the file ends inside it)"
    assert "1 examples" in lines[2]
    assert lines[2].endswith("problems: 2")
    assert lines[3:5] == [f"{path.name}\t0", f"{other.name}\t1"]


def test_a_disk_that_fails_in_the_middle_of_a_shard(tmp_path, capsys, monkeypatch):
    path, _ = write_numbered_split(tmp_path, "train", 4, 2)

    def verify_or_fail(shard):
        if shard == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return verify_shard(shard)

    monkeypatch.setattr(shard_check, "verify_shard", verify_or_fail)
    code, lines = run(capsys, tmp_path, "--data_name=imagenet")
    assert code == 3
    assert lines[0] == f"{path} cannot be read: Input/output error"
    assert lines[1].endswith("problems: 1")


def test_every_shard_of_another_size_than_the_manifest_s_is_named(tmp_path, capsys):
    """Two files that are cut, by one record and by three of five, and one with a byte more."""
    write_both_splits(tmp_path)
    write_listed(tmp_path, 5)
    cut, emptier, longer = (
        tmp_path / name
        for name in ("train-00000-of-00002", "train-00001-of-00002", "validation-00001-of-00002")
    )
    sizes = [path.stat().st_size for path in (cut, emptier, longer)]
    offsets = {path: [span.offset for span in walk_records(path)] for path in (cut, emptier)}
    cut.write_bytes(cut.read_bytes()[:-3])
    emptier.write_bytes(emptier.read_bytes()[: offsets[emptier][2]])
    longer.write_bytes(longer.read_bytes() + b"x")
    code, lines = run(capsys, tmp_path)
    assert code == 3
    message = "{} has {} bytes, its manifest says {}: copy or convert it again"
    assert lines[:4] == [
        message.format(cut, sizes[0] - 3, sizes[0]),
        f"{cut}: record 4 at byte {offsets[cut][4]} is damaged (the file ends inside it)",
        message.format(emptier, offsets[emptier][2], sizes[1]),
        f"{emptier}: 2 intact records, the manifest says 5",
    ]
    assert lines[4].startswith("train: 2 shards")
    assert lines[4].endswith("problems: 4")
    assert lines[5] == message.format(longer, sizes[2] + 1, sizes[2])
    assert lines[6] == f"{longer}: record 5 at byte {sizes[2]} is damaged (the file ends inside it)"


def test_a_split_that_lacks_a_shard_does_not_keep_the_other_from_being_checked(tmp_path, capsys):
    write_both_splits(tmp_path)
    (tmp_path / "train-00001-of-00002").unlink()
    code, lines = run(capsys, tmp_path, "--data_name=imagenet")
    assert code == 3
    assert lines[0] == f"{tmp_path} lacks 1 of 2 train shards: train-00001-of-00002"
    assert lines[1].startswith("validation: 2 shards")
    assert lines[1].endswith("intact")
    assert len(lines) == 2


def test_the_command_writes_nothing_of_tensorflow(tmp_path):
    write_numbered_split(tmp_path, "train", 4, 1)
    command = [sys.executable, "-m", "preprocessing.verify", tmp_path, "--data_name=imagenet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_an_interrupt_is_a_line(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    write_numbered_split(tmp_path, "train", 4, 1)
    monkeypatch.setattr(shard_check, "verify_shard", interrupted)
    assert verify.main([str(tmp_path), "--data_name=imagenet"]) == 130
    assert capsys.readouterr() == ("", "error: interrupted\n")


def test_a_reader_that_is_gone_hears_nothing(tmp_path):
    """As of `preprocessing.verify --counts | head -1`."""
    write_numbered_split(tmp_path, "train", 4, 1)
    flags = ["--data_name=imagenet", "--counts"]
    command = [sys.executable, "-m", "preprocessing.verify", str(tmp_path), *flags]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (128 + signal.SIGPIPE, b"")


def test_names_that_are_no_text_are_escaped(tmp_path):
    """Those of a directory and of a class, for an output that takes UTF-8 and nothing else."""
    directory = directory_whose_name_is_no_text(tmp_path)
    (written,) = write_numbered_split(tmp_path, "train", 4, 1)
    path = written.rename(directory / written.name)
    shard = Shard(path.name, 5, path.stat().st_size, "")
    names = (os.fsdecode(b"th\xe9"), "caf\u00e9", "water", "milk")
    write_manifest(directory, Manifest("drinks", names, {"train": (shard,)}))
    command = [sys.executable, "-m", "preprocessing.verify", directory, "--counts"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (3, b"")
    lines = done.stdout.decode().splitlines()
    message = "4 intact records, the manifest says 5"
    assert lines[0] == f"{tmp_path}/caf\\udce9/{path.name}: {message}"
    assert lines[-4] == "train label 1\t1\tth\\udce9"
    assert lines[-3] == "train label 2\t1\tcaf\u00e9"


def test_missing_directory(capsys):
    assert verify.main(["/nowhere"]) == 3
    assert capsys.readouterr().err == "error: data directory /nowhere does not exist\n"
    with pytest.raises(SystemExit) as caught:
        verify.main(["~nosuchuser/data"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no user nosuchuser" in line


@pytest.mark.parametrize("tool", ["preprocessing.verify", "benchmarks.pipeline"])
def test_help_is_quick(tool):
    """It does not import TensorFlow, which takes seconds."""
    command = [sys.executable, "-X", "importtime", "-m", tool, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "tensorflow" not in done.stderr
    assert f"python -m {tool}" in done.stdout


def test_many_threads_give_the_same_report(tmp_path, capsys):
    examples = [example(numbered_image(n), 1 + n) for n in range(40)]
    for number in np.random.default_rng(0).integers(0, 40, 6):
        examples[number] = example(b"x", 1)
    write_split(tmp_path, "train", examples, 8)
    reports = [run(capsys, tmp_path, "--data_name=imagenet", f"--num_threads={n}") for n in (1, 8)]
    assert reports[0] == reports[1]
    assert reports[0][0] == 3
