"""Photos are divided by content: closed forms for the numbers; a photo and its copy never part."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from preprocessing.own_photos.division import NOT_USED, Photo, deal, divide


def photos(numbers: dict[str, int], where: str = "") -> list[Photo]:
    found = []
    for label, (name, number) in enumerate(numbers.items(), start=1):
        for k in range(number):
            sha256 = hashlib.sha256(f"{name} {k} {where}".encode()).hexdigest()
            found.append(Photo(f"{where}{name}/{k}.png", name, label, sha256))
    return found


def copies(originals: list[Photo]) -> list[Photo]:
    return [Photo(f"{p.file}.copy", p.class_name, p.label, p.sha256) for p in originals]


@pytest.mark.parametrize(
    ("number", "validation", "test", "expected"),
    [
        # The nearest number to the share, but at least 1.
        (100, 0.1, 0.1, (80, 10, 10)),
        (100, 0.25, 0.05, (70, 25, 5)),
        (14, 0.1, 0.1, (12, 1, 1)),
        (16, 0.1, 0.1, (12, 2, 2)),
        (4, 0.1, 0.1, (2, 1, 1)),
        (3, 0.1, 0.1, (1, 1, 1)),
        # Fewer than 3 are not divided.
        (2, 0.1, 0.1, (2, 0, 0)),
        (1, 0.1, 0.1, (1, 0, 0)),
        # One stays for training, whatever the shares.
        (3, 0.9, 0.9, (1, 1, 1)),
        (9, 0.9, 0.9, (1, 4, 4)),
        (50, 0.0, 0.2, (40, 0, 10)),
        (50, 0.0, 0.0, (50, 0, 0)),
    ],
)
def test_numbers_of_each_class(number, validation, test, expected):
    given = photos({"a": number, "b": 2 * number})
    parts = divide({"train": given}, validation, test)
    counts = Counter(parts[photo.file] for photo in given if photo.class_name == "a")
    assert tuple(counts[part] for part in ("train", "validation", "test")) == expected


def test_copies_are_in_one_part_and_do_not_count():
    originals = photos({"a": 40, "b": 15})
    alone = divide({"train": originals}, 0.2, 0.2)
    both = divide({"train": [*originals, *copies(originals)]}, 0.2, 0.2)
    assert {file: both[file] for file in alone} == alone
    assert all(both[f"{file}.copy"] == part for file, part in alone.items())


def test_names_and_order_do_not_matter():
    originals = photos({"a": 40, "b": 15})
    renamed = [Photo(f"x{p.file}", p.class_name, p.label, p.sha256) for p in originals[::-1]]
    parts = divide({"train": originals}, 0.2, 0.2)
    assert {f"x{file}": part for file, part in parts.items()} == divide(
        {"train": renamed}, 0.2, 0.2
    )


def test_given_parts_stay_and_training_gives_up_its_copies_of_them():
    train, test = photos({"a": 20, "b": 20}), photos({"a": 5, "b": 5}, "test/")
    parts = divide({"train": [*train, *copies(test[:2])], "test": test}, 0.1, 0.5)
    assert {parts[photo.file] for photo in test} == {"test"}
    assert {parts[photo.file] for photo in copies(test[:2])} == {NOT_USED}
    counts = Counter(parts[photo.file] for photo in train)
    assert counts == {"train": 36, "validation": 4}


@pytest.mark.parametrize("num_folds", [2, 3, 5, 10])
def test_folds_are_of_equal_size_in_each_class_and_validate_the_share_that_is_asked(num_folds):
    given = photos({"a": 103, "b": 47, "c": 20})
    parts = deal([*given, *copies(given)], num_folds, 0.1)
    assert all(parts[f"{photo.file}.copy"] == parts[photo.file] for photo in given)
    for name, number in (("a", 103), ("b", 47), ("c", 20)):
        own = [parts[photo.file] for photo in given if photo.class_name == name]
        sizes = Counter(part.removesuffix("_validation") for part in own)
        assert set(sizes) == {f"fold{k}" for k in range(1, num_folds + 1)}
        assert max(sizes.values()) - min(sizes.values()) <= 1
        assert sum(part.endswith("_validation") for part in own) == int(number * 0.1 + 0.5)
    # Classes begin with another fold each, so that the remainders are not all in the first.
    totals = Counter(parts[photo.file].removesuffix("_validation") for photo in given)
    assert max(totals.values()) - min(totals.values()) <= 2
