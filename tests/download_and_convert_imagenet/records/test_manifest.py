from __future__ import annotations

import json
import os

import pytest

from common.errors import DataError
from download_and_convert_imagenet.records.manifest import (
    Manifest,
    Shard,
    read_manifest,
    write_manifest,
)

MANIFEST = Manifest(
    name="flowers",
    class_names=("rose", "tulip", "Gänseblümchen"),
    splits={
        "train": (Shard("train-00000-of-00002", 5, 500, "aa"), Shard("t-1", 6, 600, "bb")),
        "validation": (Shard("validation-00000-of-00001", 2, 200, "cc"),),
    },
)


def test_round_trip(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_class_that_is_called_by_bytes_that_are_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    manifest = Manifest("flowers", (name, "Gänseblümchen"), {})
    text = write_manifest(tmp_path, manifest).read_text(encoding="utf-8")
    assert read_manifest(tmp_path) == manifest
    assert '"caf\\udce9"' in text
    assert "Gänseblümchen" in text


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(OSError, match=r"manifest\.json"):
        write_manifest(tmp_path, MANIFEST)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_counts():
    assert MANIFEST.num_classes == 3
    assert MANIFEST.num_examples("train") == 11
    with pytest.raises(KeyError):
        MANIFEST.num_examples("test")


def test_absent_is_none(tmp_path):
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "manifest.json cannot be read"),
        ("[]", "is not a manifest"),
        ("{}", "is not a manifest"),
        (json.dumps({"format": 99}), "has format 99; this reads 1"),
        (json.dumps({"format": 1, "name": "x", "class_names": [], "splits": {"a": [{}]}}), "not a"),
    ],
)
def test_damaged_is_one_line_that_names_the_file(tmp_path, content, message):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"class_names": "abc"}, "its class_names are no list of names"),
        ({"class_names": [1, 2]}, "its class_names are no list of names"),
        ({"class_names": None}, "its class_names are no list of names"),
        ({"name": 5}, "its name is no text"),
        ({"splits": []}, "it has no splits"),
        ({"splits": {"train": {}}}, "entry 0 of its split train is no shard with file, "),
        ({"splits": {"train": [{"file": "a"}]}}, "entry 0 of its split train is no shard with "),
        ({"num_examples": "5"}, "num_examples of entry 0 of its split train is '5'"),
        ({"num_examples": -5}, "num_examples of entry 0 of its split train is -5"),
        ({"num_bytes": True}, "num_bytes of entry 0 of its split train is True"),
    ],
)
def test_a_manifest_edited_by_hand_is_refused_by_what_is_wrong_in_it(tmp_path, change, problem):
    """A text as class_names was three classes, "a", "b" and "c"; types of counts were unchecked."""
    path = write_manifest(tmp_path, MANIFEST)
    content = json.loads(path.read_text())
    place = content["splits"]["train"][0] if "num_" in str(change) else content
    place.update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not a manifest of converted shards: ") as caught:
        read_manifest(tmp_path)
    assert problem in str(caught.value)
    assert "Error(" not in str(caught.value)
