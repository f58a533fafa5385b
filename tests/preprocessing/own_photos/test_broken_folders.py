"""Folders as people have them: each works, or ends with one line before anything is trained."""

from __future__ import annotations

import os
import re
import resource
import unicodedata

import pytest

import train
from download_and_convert_imagenet.records.manifest import read_manifest
from tests.preprocessing.own_photos.folders import copy, counts, photo, records, write


def refused(root, capsys, *flags: str) -> str:
    """Returns the only line of train.py's error."""
    argv = [f"--data_dir={root}", f"--cache_dir={root.parent / 'cache'}", "--model=lenet", *flags]
    assert train.main(argv) == 3
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ").replace(str(root), "PHOTOS")


def test_one_class(tmp_path, capsys):
    line = refused(write(tmp_path / "photos", cat=5), capsys)
    assert line == (
        "PHOTOS has one class, cat: a classifier needs two or more, each in a folder of its own: "
        "PHOTOS/CLASS"
    )


def test_an_empty_class(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=5, dog=5, eel=0)
    assert refused(root, capsys) == "PHOTOS/eel holds no images: put some there, or remove it"


def test_a_class_called_train(tmp_path):
    lines: list[str] = []
    root = write(tmp_path / "photos", bus=5, car=5, train=5)
    assert {name: sum(c.values()) for name, c in counts(records(root, lines.append)).items()} == {
        "bus": 5, "car": 5, "train": 5,
    }  # fmt: skip
    assert "train/ holds images itself: it is taken for a class, not for a split" in lines


def test_training_and_testing(tmp_path):
    """Both are kept, and the photos for validation come from those for training."""
    root = write(tmp_path / "photos", Training__a=20, Training__b=10, Testing__a=4, Testing__b=3)
    assert counts(records(root)) == {
        "a": {"train": 18, "validation": 2, "test": 4},
        "b": {"train": 9, "validation": 1, "test": 3},
    }


def test_macosx(tmp_path):
    root = write(tmp_path / "photos", cat=5, dog=5, __MACOSX=0)
    (root / "__MACOSX" / "._cat").mkdir(parents=True)
    copy(root / "cat" / "0.png", root / "__MACOSX" / "._cat" / "._0.png")
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    lines: list[str] = []
    assert set(counts(records(root, lines.append))) == {"cat", "dog"}
    assert "not used: 2 left by a system" in lines


def test_the_output_below_the_photos(tmp_path):
    """Neither a cache nor a run below the photos is a class of them; the second look is equal."""
    root = write(tmp_path / "photos", cat=5, dog=5)
    (root / "runs" / "first").mkdir(parents=True)
    for name in ("parameters.json", "run.json", "curves.png"):
        (root / "runs" / "first" / name).write_bytes(b"{}")
    from preprocessing.own_photos.photos import Wishes, records_for_training

    wishes = Wishes(cache_dir=str(root / "output" / "cache"))
    first, second = (records_for_training(root, wishes, lambda line: None) for _ in range(2))
    assert first == second
    assert set(counts(first)) == {"cat", "dog"}


def test_numbers_are_labeled_in_the_order_of_their_values(tmp_path):
    root = write(tmp_path / "photos", **{"10": 4, "9": 4, "2": 4})
    manifest = read_manifest(records(root).path)
    assert manifest is not None
    assert manifest.class_names == ("2", "9", "10")


def test_two_spellings_of_one_class(tmp_path, capsys):
    root = write(tmp_path / "photos", Cat=4, cat=4)
    lines: list[str] = []
    assert set(counts(records(root, lines.append))) == {"Cat", "cat"}
    assert "warning: classes with nearly the same name are kept apart: Cat and cat" in lines
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    line = refused(write(tmp_path / "twins", **dict.fromkeys(forms, 4)), capsys)
    assert "in two forms of Unicode: rename one of them" in line


def test_heic(tmp_path, capsys):
    """Without pillow-heif the line says what to install; with it a photo that is damaged."""
    root = write(tmp_path / "photos", cat=5, dog=5)
    box = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (root / "dog" / "phone.HEIC").write_bytes(box + bytes(100))
    line = refused(root, capsys)
    assert line.startswith("1 photo cannot be decoded: dog/phone.HEIC is a ")
    assert line.endswith("remove them, or leave them out with --max_corrupt_records=1")
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        assert "needs `pip install pillow-heif`; or save it as JPEG" in line
    found = counts(records(root, max_corrupt=1))
    assert found["dog"].pop("not decoded") == 1
    assert sum(sum(parts.values()) for parts in found.values()) == 10


def test_names_with_line_ends(tmp_path):
    """What split.csv says is what the folder holds, so that a run resumes."""
    root = write(tmp_path / "photos", **{"a\rb": 4, "c\r\nd": 4, "e\nf": 4, 'g"h': 4})
    for name in ("x\ry.png", "x\r\ny.png", "x\ny.png", 'x"y,.png', "x\udcffy.png"):
        copy(root / "c\r\nd" / "0.png", root / "a\rb" / name)
    cache, lines = records(root), []
    files = {str(path.relative_to(root)) for path in root.rglob("*.png")}
    assert {row.file for row in cache.rows()} == files
    assert records(root, lines.append).path == cache.path
    assert lines[0].endswith(f"is converted already: {cache.path}")


def test_links_to_themselves(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=5, dog=5)
    (root / "loop").symlink_to("loop")
    assert train.main([f"--data_dir={root}", "--horizontal_flip=off", "--folds=2"]) == 2
    assert "needs a local --train_dir" in capsys.readouterr().err
    assert set(counts(records(root))) == {"cat", "dog"}
    (root / "cat" / "loop.png").symlink_to("loop.png")
    assert refused(root, capsys) == (
        "PHOTOS/cat/loop.png is a link to loop.png, which leads back to itself: get the image, or "
        "remove the link"
    )


def test_records_that_were_damaged_are_converted_again(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=20, dog=20)
    cache = records(root)
    shard, manifest = cache.path / "train-00000-of-00008", cache.path / "manifest.json"
    whole = {path: path.read_bytes() for path in (*cache.path.glob("*-of-*"), manifest)}
    for damage in (
        lambda: os.truncate(shard, 100),
        shard.unlink,
        manifest.unlink,
        lambda: manifest.write_text("{"),
    ):
        damage()
        lines: list[str] = []
        assert records(root, lines.append).path == cache.path
        assert lines[0].endswith(f"again where records are missing or damaged, in {cache.path}")
        assert {path: path.read_bytes() for path in whole} == whole
        records(root, lines.append)
        assert lines[-1] != lines[0]


def test_a_damaged_table_of_the_cache(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=5, dog=5)
    cache = records(root)
    table = cache.path / "split.csv"
    whole = table.read_bytes()
    for damage in (b"", b"a\rb,c\n", b"x" * 200_000, b'"file\nx'):
        table.write_bytes(whole[:60] + damage + b"\nx,y\n")
        line = refused(root, capsys)
        assert line.startswith(f"{table} cannot be read (")
        assert line.endswith(f"): remove {cache.path}")
    for rest in (whole[:0], whole[: whole.index(b"\n") + 1], whole[: whole.index(b'"dog/0')]):
        table.write_bytes(rest)
        line = refused(root, capsys)
        assert line.startswith(str(table))
        assert line.endswith(f": remove {cache.path}")


def test_text_files(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=5, dog=5)
    for name in ("notes.txt", "cat/labels.csv", "dog/notes.TXT"):
        (root / name).write_text("text")
    lines: list[str] = []
    assert set(counts(records(root, lines.append))) == {"cat", "dog"}
    only = tmp_path / "texts"
    for name in ("cat", "dog"):
        (only / name).mkdir(parents=True)
        (only / name / "a.txt").write_text("text")
    assert refused(only, capsys) == (
        "PHOTOS holds no TFRecord shards (train-00000-of-...): convert raw images with "
        "download_and_convert_imagenet first, or put photos into PHOTOS/CLASS"
    )


def test_files_of_zero_bytes(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=5, dog=5)
    (root / "cat" / "empty.jpg").touch()
    assert refused(root, capsys) == (
        "1 photo cannot be decoded: cat/empty.jpg is empty (0 bytes): replace or remove them, or "
        "leave them out with --max_corrupt_records=1"
    )
    for _ in range(2):  # converted, and found again
        assert counts(records(root, max_corrupt=1))["cat"]["not decoded"] == 1


def test_1001_classes(tmp_path):
    root = tmp_path / "photos"
    content = photo(0)
    for number in range(1001):
        (root / f"class {number}").mkdir(parents=True)
        # Bytes after a PNG's end belong to no pixel, but to another file.
        (root / f"class {number}" / "a.png").write_bytes(content + str(number).encode())
    lines: list[str] = []
    manifest = read_manifest(records(root, lines.append).path)
    assert manifest is not None
    assert (manifest.num_classes, manifest.num_examples("train")) == (1001, 1001)
    assert any(line.startswith("971 more classes are in ") for line in lines)
    assert len(lines) < 50


def test_copies_in_two_parts_and_in_two_classes(tmp_path):
    root = write(
        tmp_path / "photos", train__a=6, train__b=6, val__a=2, val__b=2, test__a=2, test__b=2
    )
    copy(root / "test" / "a" / "0.png", root / "train" / "a" / "copy.png")
    copy(root / "test" / "b" / "1.png", root / "val" / "b" / "copy.png")
    copy(root / "val" / "a" / "0.png", root / "train" / "b" / "copy.png")
    lines: list[str] = []
    cache = records(root, lines.append)
    split_of = {row.file: row.split for row in cache.rows()}
    copies = [file for file in split_of if file.endswith("copy.png")]
    assert {split_of[file] for file in copies} == {"not used"}
    assert sum(split == "test" for split in split_of.values()) == 4
    (unused,) = (line for line in lines if "holds a copy" in line)
    assert unused.startswith(
        "warning: not used, since a part that evaluates holds a copy: 3 photos"
    )
    (twice,) = (line for line in lines if "several classes" in line)
    assert re.fullmatch(
        r"warning: one photo is in several classes: train/b/copy.png and val/a/0.png: .*", twice
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_read(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=5, dog=5)
    (root / "cat" / "0.png").chmod(0)
    assert refused(root, capsys) == "PHOTOS/cat/0.png: Permission denied"


def test_no_place_for_the_cache(tmp_path, capsys):
    """Where photos may not be written is of no interest: the cache is elsewhere."""
    root = write(tmp_path / "photos", cat=5, dog=5)
    (tmp_path / "cache").write_text("in its place")
    line = refused(root, capsys)
    assert line == (
        f"cannot write to {tmp_path}/cache: it is a file, not a directory; give --cache_dir=DIR "
        "that you may write to"
    )


def test_no_room_for_the_cache(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=20, dog=20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # as a full disk
    try:
        line = refused(root, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert line.endswith(
        "/train-00000-of-00008: File too large: make room, and repeat the command, which keeps the "
        "shards that are finished"
    )
    assert not list((tmp_path / "cache").rglob("*-of-*"))
    assert sum(len(counts(records(root))[name]) for name in ("cat", "dog")) == 6


def test_a_folder_that_may_only_be_read(tmp_path):
    root = write(tmp_path / "photos", cat=5, dog=5)
    for folder in (root / "cat", root / "dog", root):
        folder.chmod(0o555)
    before = sorted(root.rglob("*"))
    records(root)
    assert sorted(root.rglob("*")) == before


def test_one_level_too_high(tmp_path, capsys):
    write(tmp_path / "photos" / "flowers", train__a=4, train__b=4, val__a=2, val__b=2)
    assert refused(tmp_path / "photos", capsys) == (
        "PHOTOS is above the data set: its only folder with images, PHOTOS/flowers, holds train "
        "and val: give --data_dir=PHOTOS/flowers"
    )


def test_one_level_too_low(tmp_path, capsys):
    root = write(tmp_path / "photos", cat=5, dog=5)
    assert refused(root / "cat", capsys).startswith(
        "PHOTOS holds images, but no folders of classes: put each into PHOTOS/CLASS"
    )
