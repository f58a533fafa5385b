from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import DataError
from download_and_convert_imagenet.data_directory import locked
from download_and_convert_imagenet.journal import ConversionJournal
from download_and_convert_imagenet.records.manifest import read_manifest
from tests.download_and_convert_imagenet.records.encoded_images import encode, picture
from tests.download_and_convert_imagenet.small_conversions import (
    NUM_IMAGES,
    NUM_SHARDS,
    identities,
    make_source,
    num_kept,
    read_examples,
    run,
)


def test_finished_shards_are_kept(raw, data_dir):
    run(make_source(raw), data_dir)
    before = identities(data_dir)
    result, progress = run(make_source(raw), data_dir)
    assert identities(data_dir) == before
    assert result.num_images_now == 0
    assert progress.lines == ["6 of 6 shards are finished already and kept"]


def test_one_changed_image_costs_one_shard(raw, data_dir):
    run(make_source(raw), data_dir)
    before = identities(data_dir)
    (raw / "train_5.jpg").write_bytes(encode(picture(99, 77)))
    _, progress = run(make_source(raw), data_dir)
    after = identities(data_dir)
    (changed,) = [name for name in after if after[name] != before[name]]
    names = {f["image/filename"].bytes_list.value[0] for f in read_examples(data_dir / changed)}
    assert b"train_5.jpg" in names
    assert "finished shards that are converted again: 1" in progress.lines[0]
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
    _, progress = run(make_source(raw), data_dir)
    assert path.read_bytes() == content
    assert num_kept(progress) == 5
    after = identities(data_dir)
    assert {name for name in after if after[name] == before[name]} == set(after) - {path.name}


def test_a_record_that_was_cut_off_harms_no_other(raw, data_dir):
    run(make_source(raw), data_dir)
    journal = data_dir / ".conversion" / "finished_shards.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert num_kept(run(make_source(raw), data_dir)[1]) == 5
    assert num_kept(run(make_source(raw), data_dir)[1]) == 6


def test_another_number_of_shards_replaces_the_old_ones(raw, data_dir):
    run(make_source(raw), data_dir)
    before = identities(data_dir)
    _, progress = run(make_source(raw), data_dir, {"train": 3, "validation": 2})
    names = sorted(path.name for path in data_dir.glob("*-of-*"))
    assert names == [f"train-0000{i}-of-00003" for i in range(3)] + [
        f"validation-0000{i}-of-00002" for i in range(2)
    ]
    assert "finished shards that are converted again: 4" in progress.lines[0]
    assert identities(data_dir)[names[-1]] == before[names[-1]]


def test_a_refusal_for_space_leaves_the_data_set_as_it_is(raw, data_dir, monkeypatch):
    run(make_source(raw), data_dir)
    before = identities(data_dir)
    disk = namedtuple("disk", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(10**9, 10**9, -(10**6)))
    with pytest.raises(DataError, match=r"GB are free"):
        run(make_source(raw), data_dir, {"train": 3, "validation": 2})
    assert identities(data_dir) == before
    assert read_manifest(data_dir) is not None
    # What is replaced by another number of shards counts as free.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(10**9, 10**9, 1000))
    run(make_source(raw), data_dir, {"train": 3, "validation": 2})
    assert len(identities(data_dir)) == 5


def test_a_manifest_never_lists_shards_that_are_gone(raw, data_dir, monkeypatch):
    """Killed, here by an error, at the first shard that is removed."""
    run(make_source(raw), data_dir)

    def fail(path, missing_ok=False):
        assert path.name != "train-00000-of-00004"
        os.unlink(path)

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(AssertionError):
        run(make_source(raw), data_dir, {"train": 3, "validation": 2})
    monkeypatch.undo()
    assert read_manifest(data_dir) is None
    run(make_source(raw), data_dir, {"train": 3, "validation": 2})
    assert len(identities(data_dir)) == 5


def test_an_image_that_cannot_be_read_stops_and_keeps_what_is_finished(raw, data_dir):
    source = make_source(raw)
    shutil.move(raw / "validation_6.jpg", raw / "gone")
    with pytest.raises(DataError, match=r"validation_6\.jpg: No such file"):
        run(source, data_dir)
    assert not list(data_dir.glob(".*partial"))
    assert read_manifest(data_dir) is None
    shutil.move(raw / "gone", raw / "validation_6.jpg")
    assert num_kept(run(source, data_dir)[1]) >= 4


def test_splits_one_after_the_other_share_a_manifest(raw, data_dir):
    run(make_source(raw, ["validation"]), data_dir)
    run(make_source(raw, ["train"]), data_dir)
    manifest = read_manifest(data_dir)
    assert manifest is not None
    assert {split: manifest.num_examples(split) for split in NUM_IMAGES} == NUM_IMAGES
    (raw / "train_5.jpg").unlink()
    source = make_source(raw, ["train"])
    (raw / "train_5.jpg").unlink()
    with pytest.raises(DataError):
        run(source, data_dir)
    manifest = read_manifest(data_dir)
    assert manifest is not None
    assert list(manifest.splits) == ["validation"]


def test_another_data_set_is_not_mixed_in(raw, data_dir):
    run(make_source(raw, ["validation"]), data_dir)
    other = replace(make_source(raw, ["train"]), class_names=("a", "b", "c"))
    with pytest.raises(DataError, match="holds 'pets' with 3 classes"):
        run(other, data_dir)


def test_shards_of_others_are_not_touched(raw, data_dir):
    data_dir.mkdir()
    (data_dir / "train-00000-of-00001").write_bytes(b"precious")
    with (
        locked(data_dir),
        pytest.raises(DataError, match="train-00000-of-00001, but no record of a conversion"),
    ):
        run(make_source(raw), data_dir)
    (data_dir / "train-00000-of-00001").unlink()
    run(make_source(raw), data_dir)
    (data_dir / "train-00000-of-00001").write_bytes(b"precious")
    with pytest.raises(DataError, match=r"-of-00001 is of another set .* not among"):
        run(make_source(raw), data_dir)
    assert read_manifest(data_dir) is not None
    assert (data_dir / "train-00000-of-00001").read_bytes() == b"precious"


def test_shards_of_others_in_a_split_that_was_never_converted_are_not_touched(raw, data_dir):
    data_dir.mkdir()
    foreign = data_dir / "validation-00001-of-00002"
    foreign.write_bytes(b"precious")
    run(make_source(raw, ["train"]), data_dir)
    before = identities(data_dir)
    with pytest.raises(DataError, match=r"-of-00002, but .* of the validation split"):
        run(make_source(raw), data_dir)
    assert identities(data_dir) == before
    assert foreign.read_bytes() == b"precious"
    foreign.unlink()
    assert num_kept(run(make_source(raw), data_dir)[1]) == NUM_SHARDS["train"]


def test_a_shard_that_was_never_recorded_is_no_shard_of_others(raw, data_dir):
    """Killed between the renaming and the recording of the first shard."""
    run(make_source(raw), data_dir)
    journal = data_dir / ".conversion" / "finished_shards.jsonl"
    lines = [line for line in journal.read_text().splitlines() if "begun" in line]
    journal.write_text("".join(f"{line}\n" for line in lines))
    assert num_kept(run(make_source(raw), data_dir)[1]) == 0


@pytest.fixture
def killed_before_recording(monkeypatch):
    """A conversion that is killed, here by an exception, between renaming and recording a shard."""

    def run_until_killed(source, data_dir):
        def die(journal, finished):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ConversionJournal, "append", die)
            with pytest.raises(KeyboardInterrupt):
                run(source, data_dir)

    return run_until_killed


def test_a_shard_that_was_never_recorded_is_not_taken_for_the_one_before(
    raw, data_dir, killed_before_recording
):
    """Of two sources in turn: the shards differ in a label and not in their size."""
    first = make_source(raw)
    others = [image._replace(label=4 - image.label) for image in first.splits["train"]]
    second = replace(first, splits={**first.splits, "train": others})
    run(first, data_dir)
    contents = {path.name: path.read_bytes() for path in data_dir.glob("*-of-*")}
    killed_before_recording(second, data_dir)
    (changed,) = [name for name in contents if (data_dir / name).read_bytes() != contents[name]]
    assert (data_dir / changed).stat().st_size == len(contents[changed])
    _, progress = run(first, data_dir)
    assert {path.name: path.read_bytes() for path in data_dir.glob("*-of-*")} == contents
    assert (
        num_kept(progress) == 5
    )  # the others, which the second source never came to, are as before


def test_a_shard_that_was_to_be_replaced_is_no_shard_of_others(
    raw, data_dir, killed_before_recording
):
    first = make_source(raw)
    others = [image._replace(label=4 - image.label) for image in first.splits["train"]]
    run(first, data_dir)
    killed_before_recording(replace(first, splits={**first.splits, "train": others}), data_dir)
    run(first, data_dir, {"train": 3, "validation": 2})
    assert len(identities(data_dir)) == 5


def test_a_journal_of_finished_shards_alone_is_understood(raw, data_dir):
    run(make_source(raw), data_dir)
    journal = data_dir / ".conversion" / "finished_shards.jsonl"
    lines = [line for line in journal.read_text().splitlines() if "begun" not in line]
    journal.write_text("".join(f"{line}\n" for line in lines))
    assert num_kept(run(make_source(raw), data_dir)[1]) == 6


def test_what_interrupted_conversions_left_is_removed(raw, data_dir):
    run(make_source(raw), data_dir)
    for name in ("train-00000-of-00004", "manifest.json", "notes"):
        (data_dir / f".{name}.123.partial").write_bytes(b"half")
    run(make_source(raw), data_dir)
    assert [path.name for path in data_dir.glob(".*partial")] == [".notes.123.partial"]


def test_the_journal_is_a_line_of_json_for_each_split_and_shard(raw, data_dir):
    run(make_source(raw), data_dir)
    journal = data_dir / ".conversion" / "finished_shards.jsonl"
    lines = [json.loads(line) for line in journal.read_text().split("\n") if line]
    assert lines[:2] == [{"begun": "train"}, {"begun": "validation"}]
    del lines[:2]
    assert sorted(line["shard"]["file"] for line in lines) == sorted(identities(data_dir))
    journal.write_text("".join(json.dumps({**line, "later": 1}) + "\n" for line in lines))
    assert num_kept(run(make_source(raw), data_dir)[1]) == len(lines)
