"""The records of a cross-validation: every photo is converted once, and tested in one fold.

The converter writes the parts that `division.deal` makes. The records of a fold are links to the
files of these parts, under the names of the splits that each part belongs to there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path

from common import files
from common.errors import DataError
from download_and_convert_imagenet.records.manifest import (
    Manifest,
    Shard,
    read_manifest,
    shard_name,
    write_manifest,
)
from download_and_convert_imagenet.sources.image_source import TEST, TRAIN, VALIDATION
from preprocessing.own_photos.cache import Cache
from preprocessing.own_photos.division import NOT_USED, name_of_fold


def directory_of(train_dir: Path, fold: int) -> Path:
    """Returns the directory of a fold, from 1, within that of the cross-validation."""
    return train_dir / f"fold_{fold}"


def records_of_folds(cache: Cache, num_folds: int) -> list[Path]:
    """Returns a directory of records for each fold of a cache; makes those that are missing.

    Raises:
        DataError: the cache is damaged.
    """
    manifest = read_manifest(cache.path)
    if manifest is None:
        raise DataError(
            f"{cache.path} has no manifest.json: remove it, to convert the photos again"
        )
    places = []
    for fold in range(1, num_folds + 1):
        place = Cache(directory_of(cache.path, fold))
        if not place.is_whole():
            _make(cache, manifest, place, fold, num_folds)
        places.append(place.path)
    return places


def _make(cache: Cache, manifest: Manifest, place: Cache, fold: int, num_folds: int) -> None:
    split_of = _splits(fold, num_folds)
    shards: dict[str, list[Shard]] = {split: [] for split in (TRAIN, VALIDATION, TEST)}
    for part, listed in manifest.splits.items():
        shards[split_of[part]] += listed
    splits = {}
    with files.write_errors(place.path):
        files.make_directory(place.path)
        for split, found in shards.items():
            names = [shard_name(split, index, len(found)) for index in range(len(found))]
            for name, shard in zip(names, found, strict=True):
                _link(cache.path / shard.file, place.path / name)
            splits[split] = tuple(
                dataclasses.replace(shard, file=name)
                for name, shard in zip(names, found, strict=True)
            )
        splits = {split: listed for split, listed in splits.items() if listed}
        write_manifest(place.path, Manifest(manifest.name, manifest.class_names, splits))
        rows = [
            dataclasses.replace(row, split=split_of.get(row.split, NOT_USED))
            for row in cache.rows()
        ]
        place.write(cache.source(), cache.division(), rows)


def _splits(fold: int, num_folds: int) -> dict[str, str]:
    """Returns the split of each part in a fold."""
    found = {}
    for other in range(1, num_folds + 1):
        for validates in (False, True):
            part = name_of_fold(other, validates=validates)
            found[part] = TEST if other == fold else VALIDATION if validates else TRAIN
    return found


def _link(source: Path, target: Path) -> None:
    """Gives a file a second name, which costs no space."""
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        target.symlink_to(os.path.relpath(source, target.parent))
