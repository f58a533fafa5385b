"""Opens data sets by name. TensorFlow is imported only when a data set is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import Params, assemble
from common import paths
from common.errors import DataError, MissingSplitError, UsageError
from download_and_convert_imagenet.records.manifest import FILE_NAME, read_manifest
from preprocessing.records.shards import (
    SUBSETS,
    check_directory,
    describe_absence,
    find_shards,
    is_present,
    refuse_unfinished,
)

if TYPE_CHECKING:
    from benchmark_cnn.interfaces import Dataset
    from preprocessing.record_dataset import RecordDataset


@dataclass(frozen=True)
class _Entry:
    """Facts about a data set that are known without its files; 0 classes: only the files know."""

    num_classes: int = 0
    sizes: tuple[int, int] = (0, 0)  # examples in train, validation
    default_dir: str | None = None


_ENTRIES = {
    "imagenet": _Entry(1000, (1_281_167, 50_000)),
    "cifar10": _Entry(10, (50_000, 10_000)),
    "digits": _Entry(default_dir="data/digits"),
    "folder": _Entry(),
}


def names() -> tuple[str, ...]:
    """Returns the names that `open_dataset` knows."""
    return tuple(_ENTRIES)


def open_dataset(
    data: DataParams, *, default_subset: str | None = None, tta: str | None = None
) -> Dataset:
    """Opens a data set.

    Without `data_dir` the images are synthetic, with the classes and the size of `data_name`
    (ImageNet's by default), except that `digits` has a directory of its own. Without `data_name`
    the name is guessed from the directory. The files of `data_subset`, or of `default_subset`, are
    checked here. With `tta`, evaluations have several views of an image (`images/tta.py`).

    Raises:
        UsageError: a value that its flag refuses, or that has no effect on this data set.
        DataError: a directory or files that are missing, incomplete or of another data set.
    """
    data = assemble(vars(data), Params()).data
    if data.data_name is not None and data.data_name not in _ENTRIES:
        raise UsageError(f"unknown data set '{data.data_name}': choose from {', '.join(_ENTRIES)}")
    directory = data_directory(data.data_dir, data.data_name)
    if directory is None:
        if tta is not None:
            raise UsageError(f"--tta={tta} has no effect on synthetic images: give --data_dir")
        return _augmenting(_open_synthetic(data.data_name or "imagenet"), data)
    name = data.data_name or guess_name(directory)
    if _ENTRIES[name].default_dir is None:  # others are written at their first use
        check_directory(directory)
    dataset = _open_records(name, directory, data)
    subset = data.data_subset or default_subset
    if subset is not None:
        try:
            find_shards(directory, subset, max_corrupt_records=data.max_corrupt_records)
        except MissingSplitError as error:
            raise DataError(f"{error}, or choose another --data_subset") from error
    return _augmenting(dataset if tta is None else dataset.with_views(tta), data)


def data_directory(data_dir: str | None, data_name: str | None) -> Path | None:
    """Returns `data_dir`, else the default directory of `data_name`; None for synthetic images."""
    if data_dir is not None:
        return Path(os.path.expanduser(data_dir))  # "~" that a parameters.json holds
    entry = _ENTRIES.get(data_name) if data_name is not None else None
    if entry is None or entry.default_dir is None:
        return None
    return paths.home_of(entry.default_dir, marker=FILE_NAME)


def guess_name(directory: Path) -> str:
    """Guesses the data set in a directory: by its manifest, its or its parent's name, shard counts.

    A data set that is written on its first use is recognized by its exact name only.

    Raises:
        DataError: the directory is missing, its conversion is not complete, or no rule applies.
    """
    place = Path(os.path.abspath(directory))
    is_written_here = place.name in _ENTRIES and _ENTRIES[place.name].default_dir is not None
    if not directory.is_dir():
        if is_written_here:
            return place.name
        check_directory(directory)
    manifest = read_manifest(directory)
    if manifest is not None:
        return manifest.name if manifest.name in _ENTRIES else "folder"
    if is_written_here:
        return place.name
    for part in (place.name, place.parent.name):
        for name in ("imagenet", "cifar10"):
            if name in part.lower():
                return name
    # Only where `find_shards` looks: deeper there may be millions of images.
    for folder in (directory, *(directory / subset for subset in SUBSETS)):
        if any(folder.glob("train-*-of-01024")) or any(folder.glob("validation-*-of-00128")):
            return "imagenet"
    for subset in SUBSETS:
        refuse_unfinished(directory, subset)  # that explains the missing manifest
    if not any(is_present(directory, subset) for subset in SUBSETS):
        raise DataError(describe_absence(directory, SUBSETS[0]))
    named = [name for name, entry in _ENTRIES.items() if entry.num_classes]
    raise DataError(
        f"cannot tell which data set {directory} holds, since it has no manifest.json: give "
        f"--data_name={{{','.join(named)}}}, or convert images of other classes with "
        "python -m download_and_convert_imagenet"
    )


def _open_records(name: str, directory: Path, data: DataParams) -> RecordDataset:
    from preprocessing import datasets

    openers = {
        "imagenet": datasets.open_imagenet,
        "cifar10": datasets.open_cifar10,
        "digits": datasets.open_digits,
        "folder": datasets.open_folder,
    }
    return openers[name](directory, data)


def _augmenting(dataset: Dataset, data: DataParams) -> Dataset:
    """Returns the data set, a dataclass, with the batch augmentation of the flags."""
    if not (data.random_erasing or data.mixup_alpha or data.cutmix_alpha):
        return dataset

    from preprocessing.augmentation.batch_augmentation import BatchAugmentation

    return replace(cast("Any", dataset), batch_augmentation=BatchAugmentation(data))


def _open_synthetic(name: str) -> Dataset:
    entry = _ENTRIES[name]
    if not entry.num_classes:
        raise UsageError(f"--data_name={name} needs --data_dir")

    from preprocessing.synthetic import SyntheticDataset

    num_train, num_validation = entry.sizes
    sizes = {"train": num_train, "validation": num_validation}
    return SyntheticDataset(name, entry.num_classes, sizes)
