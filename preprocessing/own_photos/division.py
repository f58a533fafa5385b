"""Divides photos into parts by their contents: a photo and its copies are in one part.

Each class gives its share to each part. Which photos these are is decided by the SHA-256 of their
bytes alone: names, dates and the order of the files have no say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from download_and_convert_imagenet.sources.image_source import TEST, TRAIN, VALIDATION

DEFAULT_FRACTION = 0.1
# A class with fewer different photos has none in the parts that are made.
FEWEST_TO_DIVIDE = 3
NOT_USED = "not used"
NOT_DECODED = "not decoded"
_VALIDATION = "_validation"
# Whose photo stays where two parts hold copies of it: an evaluation loses none.
_KEEPERS = (TEST, VALIDATION, TRAIN)


@dataclass(frozen=True)
class Photo:
    """A photo.

    Attributes:
        file: its path below the folder.
        class_name: the folder of its class.
        label: of its class, from 1.
        sha256: of its bytes, in hexadecimal.
    """

    file: str
    class_name: str
    label: int
    sha256: str


Parts = dict[str, str]
"""File -> the part that it belongs to, NOT_USED as a copy, or NOT_DECODED."""


def divide(
    given: Mapping[str, Sequence[Photo]], validation_fraction: float, test_fraction: float
) -> Parts:
    """Returns the part of each photo.

    Args:
        given: train, and the further parts that the folder has. A copy of a photo of the test part
            is not used in another, nor a copy of a validation photo in training.
        validation_fraction, test_fraction: of each class, if that part is not given. The number is
            the nearest to the fraction, but at least one of a class with FEWEST_TO_DIVIDE photos,
            and one stays for training.
    """
    parts, taken = _given_parts(given)
    train = [photo for photo in given[TRAIN] if photo.sha256 not in taken]
    fractions = {VALIDATION: validation_fraction, TEST: test_fraction}
    fractions = {part: share for part, share in fractions.items() if part not in given and share}
    for contents in _by_class(train).values():
        start = 0
        for part, fraction in sorted(fractions.items()):
            stop = start + _number(len(contents), fraction, len(fractions))
            for photos in contents[start:stop]:
                parts.update((photo.file, part) for photo in photos)
            start = stop
        for photos in contents[start:]:
            parts.update((photo.file, TRAIN) for photo in photos)
    return parts


def deal(photos: Sequence[Photo], num_folds: int, validation_fraction: float) -> Parts:
    """Deals photos to `num_folds` parts of equal size, each of which tests one training.

    Returns:
        File -> `name_of_fold`. The share of each part that validates while the others are tested
        has a name of its own.
    """
    parts: Parts = {}
    for number, contents in enumerate(_by_class(photos).values()):
        dealt: dict[int, list[list[Photo]]] = defaultdict(list)
        for index, copies in enumerate(contents):
            dealt[(index + number) % num_folds].append(copies)
        seen = 0
        for step in range(num_folds):
            fold = (step + number) % num_folds
            before = _nearest(seen * validation_fraction)
            seen += len(dealt[fold])
            num_validation = _nearest(seen * validation_fraction) - before
            for index, copies in enumerate(dealt[fold]):
                name = name_of_fold(fold + 1, validates=index < num_validation)
                parts.update((photo.file, name) for photo in copies)
    return parts


def name_of_fold(number: int, *, validates: bool = False) -> str:
    """Returns the name of a part of the photos, from 1, or of its share for validation."""
    return f"fold{number}{_VALIDATION if validates else ''}"


def is_for_validation(part: str) -> bool:
    """Returns whether `name_of_fold` has named a share for validation."""
    return part.endswith(_VALIDATION)


def numbers_of_contents(photos: Iterable[Photo]) -> dict[str, int]:
    """Returns the number of different photos of each class."""
    contents: dict[str, set[str]] = defaultdict(set)
    for photo in photos:
        contents[photo.class_name].add(photo.sha256)
    return {name: len(found) for name, found in contents.items()}


def in_several_classes(photos: Iterable[Photo]) -> list[list[Photo]]:
    """Returns the copies of each photo that more than one class has."""
    found: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        found[photo.sha256].append(photo)
    return [copies for copies in found.values() if len({copy.label for copy in copies}) > 1]


def ordered(parts: Iterable[str]) -> list[str]:
    """Returns the different parts: train, validation, test, those of folds, and the rest."""
    known = {TRAIN: 0, VALIDATION: 1, TEST: 2, NOT_USED: 8, NOT_DECODED: 9}
    return sorted(set(parts), key=lambda part: (known.get(part, 3), len(part), part))


def _given_parts(given: Mapping[str, Sequence[Photo]]) -> tuple[Parts, set[str]]:
    """Returns the parts of all given photos, and the contents that are not for training."""
    parts: Parts = {}
    taken: set[str] = set()
    for part in _KEEPERS:
        photos = given.get(part, ())
        parts.update((p.file, NOT_USED if p.sha256 in taken else part) for p in photos)
        if part != TRAIN:
            taken |= {photo.sha256 for photo in photos}
    return parts, taken


def _by_class(photos: Iterable[Photo]) -> dict[int, list[list[Photo]]]:
    """Returns label -> the photos of each content, in the order of the contents' hashes.

    Copies in several classes count for the first of these.
    """
    copies: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        copies[photo.sha256].append(photo)
    classes: dict[int, list[list[Photo]]] = defaultdict(list)
    for _, found in sorted(copies.items()):
        classes[min(photo.label for photo in found)].append(found)
    return dict(sorted(classes.items()))


def _number(num_contents: int, fraction: float, num_parts: int) -> int:
    """Returns how many photos of a class a part gets; see `divide`."""
    if num_contents < FEWEST_TO_DIVIDE:
        return 0
    return max(1, min(_nearest(num_contents * fraction), (num_contents - 1) // num_parts))


def _nearest(number: float) -> int:
    return int(number + 0.5)
