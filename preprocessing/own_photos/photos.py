"""From a folder of photos to records: `python train.py --data_dir=my_photos`.

The folder is recognized, its photos are divided into training, validation and test, and converted
once into a cache. Each later command with the same folder finds the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from common import commands, files
from common.errors import DataError, UsageError
from common.paths import one_line
from common.process import num_cores
from download_and_convert_imagenet.sources.image_source import (
    TEST,
    TRAIN,
    VALIDATION,
    ImageFile,
    ImageSource,
    SourceImage,
)
from preprocessing.own_photos import cache as caches
from preprocessing.own_photos import conversion, division, report
from preprocessing.own_photos.cache import Cache, Division, File, Row
from preprocessing.own_photos.division import NOT_DECODED, NOT_USED, Parts, Photo
from preprocessing.records.shards import SUBSETS, is_present, refuse_unfinished

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """What a command line says about photos; None where it leaves the choice.

    Attributes:
        validation_fraction, test_fraction: see `Division`.
        folds: see `Division`.
        cache_dir: for records, instead of the cache of the user.
        max_corrupt: photos that may be left out because they cannot be decoded.
    """

    validation_fraction: float | None = None
    test_fraction: float | None = None
    folds: int | None = None
    cache_dir: str | None = None
    max_corrupt: int = 0


@dataclass(frozen=True)
class Folder:
    """A folder of photos as it is now.

    Attributes:
        source: the images in the splits that the folder gives.
        seen: what a look at each file tells.
    """

    root: Path
    source: ImageSource
    seen: Mapping[str, File]

    @property
    def images(self) -> Iterator[SourceImage]:
        """All images, whatever their split."""
        return (image for images in self.source.splits.values() for image in images)


def holds_photos(directory: str | Path) -> bool:
    """Returns whether a directory holds photos, and no records, which other code reads."""
    root = Path(directory)
    if not root.is_dir():
        return False
    if any(is_present(root, split) for split in SUBSETS) or (root / caches.ABOUT_FILE).exists():
        return False
    for split in SUBSETS:
        refuse_unfinished(root, split)
    from download_and_convert_imagenet.records.manifest import FILE_NAME
    from download_and_convert_imagenet.sources.folders.tree import scan

    with _errors_in_one_line(root):
        return not (root / FILE_NAME).exists() and scan(root)[0].num_images > 0


def records_for_training(root: Path, wishes: Wishes, say: Say = commands.write_line) -> Cache:
    """Returns the records of a folder of photos, divided as wished; converts it if needed.

    Raises:
        DataError: the folder cannot be trained on, or a photo cannot be read.
        UsageError: a wish contradicts the folder.
    """
    with _errors_in_one_line(root):
        home = _writable_home(wishes.cache_dir)
        folder = look_at(root, home)
        wanted = division_for(folder, wishes)
        found = _unchanged(folder, home, lambda cache: cache.division() == wanted)
        if found is not None and found.is_whole():
            say(f"Photos:      {one_line(str(root))} is converted already: {found.path}")
            _say_counts(folder, *_of_rows(folder, found.rows()), found, say)
            return found
        photos, parts = _divided(folder, wanted)
        cache = caches.place(home, root, wanted, _rows(folder, photos, parts))
        with conversion.alone(cache.path, say):
            if cache.is_whole():
                kept = {row.file: row.split for row in cache.rows()}
                if kept.keys() != parts.keys():
                    raise DataError(
                        f"{cache.path / caches.SPLIT_FILE} lists other photos than {root} has: "
                        f"remove {cache.path}"
                    )
                say(f"Photos:      {one_line(str(root))} is converted already: {cache.path}")
                _say_counts(folder, photos, kept, cache, say)
            else:
                how = "once, into"
                if cache.is_complete():
                    how = "again where records are missing or damaged, in"
                    cache.forget()
                say(f"Photos:      {one_line(str(root))} is converted {how} {cache.path}")
                for note in folder.source.notes:
                    say(note)
                _say_counts(folder, photos, parts, cache, say)
                corrupt = conversion.convert(folder.source, parts, cache.path, wishes.max_corrupt)
                kept = parts | dict.fromkeys(corrupt, NOT_DECODED)
            cache.write(root.resolve(), wanted, _rows(folder, photos, kept))
    return cache


def records_of(root: Path, cache_dir: str | None = None, prefer: Path | None = None) -> Cache:
    """Returns the records that a training made of a folder as it is; converts it if there are none.

    Args:
        prefer: of several divisions of the folder, that of these records, those of a run; else the
            newest.
    """
    found = existing(root, cache_dir, prefer)
    return found or records_for_training(root, Wishes(cache_dir=cache_dir))


def existing(root: Path, cache_dir: str | None = None, prefer: Path | None = None) -> Cache | None:
    """Returns the records of a folder as it is now, if there are any; see `records_of`."""
    with _errors_in_one_line(root):
        home = caches.home(cache_dir)
        folder = look_at(root, home)
        if prefer is not None:
            preferred = Cache(prefer)
            is_same = preferred.is_complete() and preferred.source() == root.resolve()
            if is_same and not caches.differences(preferred.rows(), folder.seen):
                return preferred
        return _unchanged(folder, home, lambda cache: cache.division().folds is None)


def look_at(root: Path, home: Path) -> Folder:
    """Lists a folder of photos; reads none of them.

    Raises:
        DataError: it has no reading, or a single class.
    """
    from download_and_convert_imagenet.sources.class_folders import folders_as_given

    source = folders_as_given(root, home, "--data_dir")
    if len(source.class_names) < 2:
        raise DataError(
            f"{root} has one class, {one_line(*source.class_names)}: a classifier needs two or "
            f"more, each in a folder of its own: {root}/CLASS"
        )
    images = [image for found in source.splits.values() for image in found]
    return Folder(root, source, {image.name: _file(image) for image in images})


def division_for(folder: Folder, wishes: Wishes) -> Division:
    """Returns how a folder is divided: into what it gives, and what is wished or usual.

    Raises:
        UsageError: a part is given and a fraction for it, too.
    """
    fractions = {}
    for part, wish in ((VALIDATION, wishes.validation_fraction), (TEST, wishes.test_fraction)):
        # With folds, given validation photos are dealt, too; given test photos are in none.
        given = part in folder.source.splits and not (wishes.folds and part == VALIDATION)
        if given and wish is not None:
            raise UsageError(
                f"--{part}_fraction has no effect on {folder.root}, which has the {part} photos in "
                "a folder of their own"
            )
        fraction = division.DEFAULT_FRACTION if wish is None else wish
        fractions[part] = 0.0 if given or (part == TEST and wishes.folds) else fraction
    return Division(fractions[VALIDATION], fractions[TEST], wishes.folds)


def _divided(folder: Folder, wanted: Division) -> tuple[list[Photo], Parts]:
    """Reads the contents of all photos; returns them, and the part of each."""
    images = list(folder.images)
    with ThreadPoolExecutor(num_cores()) as threads:
        digests = threads.map(lambda i: hashlib.sha256(i.location.read()).hexdigest(), images)
        sha256 = dict(zip((image.name for image in images), digests, strict=True))
    given = {
        part: [Photo(i.name, i.synset, i.label, sha256[i.name]) for i in found]
        for part, found in folder.source.splits.items()
    }
    photos = [photo for found in given.values() for photo in found]
    if wanted.folds is None:
        parts = division.divide(given, wanted.validation_fraction, wanted.test_fraction)
        _check_classes_left(folder, photos, parts)
        return photos, parts
    tested = {photo.sha256 for photo in given.get(TEST, ())}
    dealt = [p for part in (TRAIN, VALIDATION) for p in given.get(part, ())]
    dealt = [photo for photo in dealt if photo.sha256 not in tested]
    for name, number in division.numbers_of_contents(dealt).items():
        if number < wanted.folds:
            raise UsageError(
                f"--folds={wanted.folds} needs as many different photos of each class: "
                f"{one_line(name)} has {number:,}"
            )
    parts = dict.fromkeys((photo.file for photo in photos), NOT_USED)
    parts |= division.deal(dealt, wanted.folds, wanted.validation_fraction)
    validating = {part for part in parts.values() if division.is_for_validation(part)}
    # The photos that validate in a fold are those of the others, which it does not test.
    if wanted.validation_fraction and len(validating) < 2:
        raise UsageError(
            f"--folds={wanted.folds} of these few photos leaves a fold without validation photos: "
            f"give a --validation_fraction above {wanted.validation_fraction:g}, or 0 for none"
        )
    return photos, parts


def _check_classes_left(folder: Folder, photos: Sequence[Photo], parts: Parts) -> None:
    left = {photo.label for photo in photos if parts[photo.file] == TRAIN}
    lost = next((photo for photo in photos if photo.label not in left), None)
    if lost is not None:
        raise DataError(
            f"{folder.root}: no photo of the class {one_line(lost.class_name)} is left for "
            f"training, since {lost.file} and the others are copies of photos that evaluate"
        )


def _unchanged(folder: Folder, home: Path, is_wanted: Callable[[Cache], bool]) -> Cache | None:
    """Returns the newest records of the files that are there, by their sizes and times."""
    classes = {image.name: image.synset for image in folder.images}
    for cache in filter(is_wanted, caches.of_folder(home, folder.root)):
        rows = cache.rows()
        if not caches.differences(rows, folder.seen) and all(
            classes[row.file] == row.class_name for row in rows
        ):
            return cache
    return None


def _rows(folder: Folder, photos: Sequence[Photo], parts: Parts) -> list[Row]:
    return [
        Row(p.file, p.class_name, parts[p.file], p.sha256, *folder.seen[p.file]) for p in photos
    ]


def _of_rows(folder: Folder, rows: Sequence[Row]) -> tuple[list[Photo], Parts]:
    labels = {image.name: image.label for image in folder.images}
    photos = [Photo(row.file, row.class_name, labels[row.file], row.sha256) for row in rows]
    return photos, {row.file: row.split for row in rows}


def _say_counts(
    folder: Folder, photos: Sequence[Photo], parts: Parts, cache: Cache, say: Say
) -> None:
    for line in report.table(photos, parts, str(cache.path / caches.SPLIT_FILE)):
        say(line)
    if TEST in folder.source.splits and any(part.startswith("fold1") for part in parts.values()):
        say(f"the test photos that {folder.root} gives are used in no fold")
    left_out: dict[str, int] = {}
    for _, reason, number in folder.source.left_out:
        left_out[reason] = left_out.get(reason, 0) + number
    if left_out:
        say("not used: " + ", ".join(f"{number:,} {reason}" for reason, number in left_out.items()))
    for line in report.warnings(photos, parts):
        say(line)


def _file(image: SourceImage) -> File:
    assert isinstance(image.location, ImageFile)
    return File(image.location.num_bytes, image.location.mtime_ns)


def _writable_home(cache_dir: str | None) -> Path:
    home = caches.home(cache_dir)
    with files.write_errors(f"to {home}", "give --cache_dir=DIR that you may write to"):
        files.make_writable(home)
    return home


@contextlib.contextmanager
def _errors_in_one_line(root: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        line = f"{error.filename or root}: {error.strerror or error}"
        if files.lacks_room(error):
            line += ": make room, or give --cache_dir=DIR on a larger disk"
        raise DataError(line) from error
