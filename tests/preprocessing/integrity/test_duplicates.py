"""Copies across and within splits, of class folders and of records made of them."""

from __future__ import annotations

import io
import shutil

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from download_and_convert_imagenet.__main__ import main as convert
from preprocessing import verify
from preprocessing.integrity import duplicates

PHOTOS = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)).resize(
        (160, 120), Image.Resampling.BICUBIC
    )
    for seed in range(30)
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two classes and two splits: seven copies, of which four cross the splits."""
    root = tmp_path_factory.mktemp("duplicates") / "photos"
    numbers = {"train": {"cat": range(8), "dog": range(8, 16)}}
    numbers["validation"] = {"cat": range(16, 20), "dog": range(20, 24)}
    for split, classes in numbers.items():
        for name, members in classes.items():
            (root / split / name).mkdir(parents=True)
            for number in members:
                PHOTOS[number].save(root / split / name / f"{number:02}.jpg", quality=92)
    train, validation = root / "train", root / "validation"
    shutil.copy(train / "cat" / "00.jpg", validation / "cat" / "exact.jpg")
    PHOTOS[1].resize((80, 60)).save(validation / "cat" / "small.png")
    PHOTOS[9].save(validation / "cat" / "other_class.jpg", quality=40)
    ImageEnhance.Brightness(PHOTOS[10]).enhance(0.9).save(validation / "dog" / "dark.webp")
    shutil.copy(train / "dog" / "08.jpg", train / "dog" / "again.jpg")
    shutil.copy(train / "dog" / "08.jpg", train / "dog" / "and_again.jpg")
    PHOTOS[22].resize((320, 240)).save(validation / "dog" / "large.jpg")
    return root


def check(capsys, *argv, code):
    capsys.readouterr()
    assert verify.main(["--duplicates", *map(str, argv)]) == code
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err


def test_copies_are_named_with_their_splits_distance_and_classes(folders, capsys):
    lines, _ = check(capsys, folders, code=3)
    assert lines[-1] == "31 images compared: 4 have a copy in another split, 3 only in their own"
    across, within = lines[:4], lines[4:-1]
    assert all(" in train and validation: " in line for line in across)
    (exact,) = [line for line in across if line.startswith("exact copy")]
    assert f"{folders}/train/cat/00.jpg and {folders}/validation/cat/exact.jpg" in exact
    (other,) = [line for line in across if "of the classes" in line]
    assert other.endswith("other_class.jpg, of the classes dog and cat")
    for name in ("small.png", "dark.webp"):
        (line,) = [line for line in across if name in line]
        assert line.startswith("near copy (")
        assert " of 64 bits differ)" in line
    assert sorted(line.split(":")[0].split(" (")[0] for line in within) == [
        "exact copy within train", "exact copy within train", "near copy",
    ]  # fmt: skip


def test_records_have_the_copies_of_their_folders(folders, tmp_path, capsys):
    assert convert([str(tmp_path), "--source=folder", f"--raw_dir={folders}"]) == 0
    lines, _ = check(capsys, tmp_path, code=3)
    assert lines[-1] == "31 images compared: 4 have a copy in another split, 3 only in their own"
    (exact,) = [line for line in lines if line.startswith("exact copy in")]
    assert "train-0000" in exact
    assert "cat/00.jpg and validation-0000" in exact
    lines, _ = check(capsys, tmp_path, "--split=train", code=0)
    assert lines[-1] == "18 images compared: 0 have a copy in another split, 2 only in their own"


def test_the_distance_decides_what_is_near(folders, capsys):
    lines, _ = check(capsys, folders, "--max_distance=0", code=3)
    assert lines[-1].startswith("31 images compared: ")
    assert sum(line.startswith("exact copy") for line in lines) == 3
    assert not any("(1 of" in line for line in lines)


def test_what_cannot_be_decoded_is_named_and_no_copies_are_code_0(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            photo = PHOTOS[number + 3 * (name == "b")]
            photo.save(tmp_path / name / f"{number}.jpg")
    (tmp_path / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    lines, _ = check(capsys, tmp_path, code=0)
    assert lines[0].startswith(f"not compared: {tmp_path}/a/broken.jpg ")
    assert lines[1] == "6 images compared: 0 have a copy in another split, 0 only in their own"
    lines, error = check(capsys, tmp_path / "none", code=3)
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_hash_is_the_librarys():
    for photo in PHOTOS[:5]:
        buffer = io.BytesIO()
        photo.save(buffer, "PNG")
        expected = imagehash.phash(photo)
        assert duplicates.perceptual_hash(buffer.getvalue()) == int(str(expected), 16)


def test_near_pairs_are_those_of_a_double_loop(monkeypatch):
    monkeypatch.setattr(duplicates, "_ROWS", 16)
    monkeypatch.setattr(duplicates, "_COLUMNS", 24)
    random = np.random.default_rng(1)
    # Ten words, each with a few bits changed.
    words = random.integers(0, 2**64, 10, np.uint64)[random.integers(0, 10, 90)]
    changes = [sum(1 << int(bit) for bit in random.integers(0, 64, 3)) for _ in words]
    hashes = words ^ np.array(changes, np.uint64)
    expected = {
        (i, j, bin(int(hashes[i]) ^ int(hashes[j])).count("1"))
        for i in range(90)
        for j in range(i + 1, 90)
        if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= 4
    }
    assert len(expected) > 50
    assert set(duplicates.near_pairs(hashes, 4)) == expected


def images_of(digests, hashes, splits):
    names = [str(number) for number in range(len(digests))]
    return duplicates.Images(
        names, list(splits), names, list(digests), np.array(hashes, np.uint64), []
    )


def test_an_image_is_named_with_its_nearest_copy_in_another_split_first():
    images = images_of([b"a", b"a", b"b", b"a", b"c"], [7, 7, 5, 7, 7], "ttttv")
    copies = duplicates.find_copies(images, 4)
    assert copies == [(0, 1, None), (0, 2, 1), (0, 3, None), (0, 4, 0)]


def test_a_hundred_thousand_copies_are_no_billion_pairs():
    number = 100_000
    images = images_of([b"x"] * number, [3] * number, ["t"] * (number - 1) + ["v"])
    copies = duplicates.find_copies(images, 4)
    assert len(copies) == number - 1
    assert sum(duplicates.crosses_splits(images, copy) for copy in copies) == 1
