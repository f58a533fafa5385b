"""What a run reads when --data_dir is a folder of photos; of other data nothing changes."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from benchmark_cnn.params.params import PARAMETERS_FILE, Params, read_parameters
from common import commands, paths
from common.errors import DataError, UsageError
from common.paths import one_line, quoted
from preprocessing.own_photos import cache as caches
from preprocessing.own_photos import folds, photos, report
from preprocessing.own_photos.cache import Cache
from preprocessing.own_photos.photos import Wishes
from preprocessing.records.shards import SUBSETS, is_present

_NAMES = (None, "folder")  # --data_name of photos
_OF_PHOTOS = ("validation_fraction", "test_fraction", "cache_dir")


def for_training(params: Params) -> Params:
    """Returns `params` with the records of a folder of photos as --data_dir.

    Raises:
        DataError: the folder cannot be trained on, or has changed since the run began.
        UsageError: a flag has no effect.
    """
    root = _folder(params)
    if root is None:
        return params
    train_dir = params.checkpoint.train_dir
    cache = _of_resumed_run(root, params, Path(train_dir)) if train_dir is not None else None
    return _reading(params, cache or photos.records_for_training(root, _wishes(params)))


def folds_for_training(params: Params) -> list[Path]:
    """Returns the records of each fold of --folds; see `for_training`."""
    number, root = params.run.folds, _folder(params)
    assert number is not None
    if root is None:
        raise UsageError(
            f"--folds={number} divides a folder of photos: give it with --data_dir=DIR, a folder "
            "for each class"
        )
    for fold in range(1, number + 1):
        train_dir = folds.directory_of(Path(params.checkpoint.train_dir or "."), fold)
        _of_resumed_run(root, params, train_dir)
    cache = photos.records_for_training(root, _wishes(params))
    return folds.records_of_folds(cache, number)


def for_evaluation(params: Params, run: Params | None) -> Params:
    """Returns `params` with records as --data_dir, those of `run` where the photos are the same.

    Args:
        run: the run that is evaluated, if it is known.
    """
    root = _folder(params)
    if root is None:
        return params
    of_run = Path(run.data.data_dir) if run is not None and run.data.data_dir else None
    cache = photos.records_of(root, params.data.cache_dir, prefer=of_run)
    if of_run is not None and cache.path != of_run and _is_of(of_run, root):
        commands.write_line(
            f"warning: {one_line(str(root))} has changed since the run began: the run may have "
            f"been trained on photos that are evaluated now. Without --data_dir, those of "
            f"{of_run} are evaluated"
        )
    return _reading(params, cache)


def is_folder_of_photos(params: Params) -> bool:
    """Returns whether --data_dir is a folder of photos."""
    data = params.data
    if data.data_dir is None or data.data_name not in _NAMES:
        return False
    return photos.holds_photos(Path(data.data_dir).expanduser())


def records_of_run(train_dir: Path | str | None) -> Path | None:
    """Returns the data of a run, of a directory or checkpoint on this machine, if it has any."""
    if train_dir is None or paths.is_remote(str(train_dir)):
        return None
    directory = Path(train_dir)
    directory = directory if directory.is_dir() else directory.parent
    if not (directory / PARAMETERS_FILE).exists():
        return None
    data_dir = read_parameters(directory).data.data_dir
    return None if data_dir is None else Path(data_dir)


def _folder(params: Params) -> Path | None:
    """Returns --data_dir if it is a folder of photos; checks the flags that belong to one."""
    data = params.data
    if is_folder_of_photos(params):
        return Path(data.data_dir or "").expanduser()
    if data.data_dir is not None and data.data_name in _NAMES:
        root = Path(data.data_dir).expanduser()
        if not any(is_present(root, subset) for subset in SUBSETS):
            return None  # whoever opens it says what it lacks
    for name in _OF_PHOTOS:
        if getattr(data, name) is not None:
            where = "without --data_dir" if data.data_dir is None else f"on {data.data_dir}"
            raise UsageError(
                f"--{name} has no effect {where}: it belongs to a folder of photos, which is "
                "converted by this command"
            )
    return None


def _wishes(params: Params) -> Wishes:
    data = params.data
    return Wishes(
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        folds=params.run.folds,
        cache_dir=data.cache_dir,
        max_corrupt=data.max_corrupt_records,
    )


def _of_resumed_run(root: Path, params: Params, train_dir: Path) -> Cache | None:
    """Returns the records of the run that will be resumed, if it was trained on this folder.

    Raises:
        DataError: the photos have changed since, or are to be divided in another way.
    """
    if not any(train_dir.glob("*.index")) or not (train_dir / PARAMETERS_FILE).exists():
        return None
    data_dir = read_parameters(train_dir).data.data_dir
    if data_dir is None or not _is_of(Path(data_dir), root):
        return None
    cache, wishes = Cache(Path(data_dir)), _wishes(params)
    folder = photos.look_at(root, caches.home(wishes.cache_dir))
    rows = cache.rows()
    found = caches.differences(rows, folder.seen)
    sha256 = {row.file: row.sha256 for row in rows}
    changed = [name for name in found.pop("changed", []) if _sha256(root / name) != sha256[name]]
    if changed:
        found["changed"] = changed
    without = " and without --cache_dir" if wishes.cache_dir is not None else ""
    how = f"resume it on the photos as they were with --data_dir={quoted(cache.path)}{without}"
    if found:
        raise DataError(
            f"{root} has changed since the run in {train_dir} began: {report.changes(found)}: "
            f"{how}, or train on those that are there now in another --train_dir"
        )
    was, wanted = cache.division(), photos.division_for(folder, wishes)
    if was != wanted:
        fraction = f"--validation_fraction={was.validation_fraction:g}"
        if not was.folds:
            words = [fraction, f"--test_fraction={was.test_fraction:g}"]
        elif was.validation_fraction == wanted.validation_fraction:
            words = [f"--folds={was.folds}"]
        else:
            words = [fraction, f"--folds={was.folds}"]
        raise DataError(
            f"the run in {train_dir} began with {' '.join(words)}: give these, or another "
            "--train_dir"
        )
    return cache if cache.is_whole() else None  # which is mended where it is


def _is_of(data_dir: Path, root: Path) -> bool:
    cache = Cache(data_dir)
    return cache.is_complete() and cache.source() == root.resolve()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _reading(params: Params, cache: Cache) -> Params:
    """Returns `params` that read records. What made them is known from them."""
    data = dataclasses.replace(params.data, data_dir=str(cache.path), data_name="folder")
    return dataclasses.replace(params, data=data)
