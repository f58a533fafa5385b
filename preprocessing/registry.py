"""Data sets by name. Nothing here imports TensorFlow until a data set is opened."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from common.errors import DataError, UsageError
from preprocessing.options import BatchOptions, ImageOptions, ReadingOptions
from preprocessing.records.shards import SUBSETS, find_shards, manifest_of, refuse_unfinished

if TYPE_CHECKING:
    from benchmark_cnn.interfaces import Dataset


@dataclass(frozen=True)
class _Entry:
    """Where a data set's opener is ("module:function"), and its shape for synthetic images."""

    opener: str
    num_classes: int = 0
    sizes: tuple[int, int] = (0, 0)  # examples in train, validation
    default_dir: str | None = None


_ENTRIES = {
    "imagenet": _Entry("preprocessing.datasets:open_imagenet", 1000, (1_281_167, 50_000)),
    "cifar10": _Entry("preprocessing.datasets:open_cifar10", 10, (50_000, 10_000)),
    "digits": _Entry("preprocessing.datasets:open_digits", default_dir="data/digits"),
    "folder": _Entry("preprocessing.datasets:open_folder"),
}


def names() -> tuple[str, ...]:
    """The names that `open_dataset` knows."""
    return tuple(_ENTRIES)


def open_dataset(
    *,
    data_dir: str | None = None,
    data_name: str | None = None,
    data_subset: str | None = None,
    batch_size: int | None = None,
    train_crop: str = "inception",
    eval_method: str = "vgg",
    resize_method: str = "bilinear",
    resize_kernels: str = "legacy",
    eval_crop_fraction: float | None = None,
    augment: str = "none",
    randaugment_num_layers: int = 2,
    randaugment_magnitude: int = 10,
    random_erasing: float = 0.0,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
    datasets_repeat_cached_sample: bool = False,
    num_data_threads: int | None = None,
    shuffle_buffer: int = 10_000,
    max_corrupt_records: int = 0,
) -> Dataset:
    """Open a data set; the arguments are the flags of the same names.

    Without `data_dir` the images are synthetic, with the classes and the size of `data_name`
    (ImageNet's by default), except that `digits` has a directory of its own. Without `data_name`
    the name is guessed from the directory. The files of `data_subset`, if given, are checked here.

    Raises:
        UsageError: an argument that cannot be meant.
        DataError: a directory or files that are missing, incomplete or of another data set.
    """
    del batch_size  # batches are asked for later, this flag is only in the same group
    if data_name is not None and data_name not in _ENTRIES:
        raise UsageError(f"unknown data set '{data_name}': choose from {', '.join(_ENTRIES)}")
    directory = data_directory(data_dir, data_name)
    batches = BatchOptions(random_erasing, mixup_alpha, cutmix_alpha)
    if directory is None:
        return _augmenting(_open_synthetic(data_name or "imagenet"), batches)
    images = ImageOptions(
        train_crop=train_crop,
        eval_method=eval_method,
        resize_method=resize_method,
        resize_kernels=resize_kernels,
        eval_crop_fraction=eval_crop_fraction,
        augment=augment,
        randaugment_num_layers=randaugment_num_layers,
        randaugment_magnitude=randaugment_magnitude,
    )
    reading = ReadingOptions(
        shuffle_buffer, max_corrupt_records, num_data_threads, datasets_repeat_cached_sample
    )
    entry = _ENTRIES[data_name or guess_name(directory)]

    dataset = _resolve(entry.opener)(directory, images, reading)
    if data_subset is not None:
        find_shards(directory, data_subset, max_corrupt_records=max_corrupt_records)
    return _augmenting(dataset, batches)


def data_directory(data_dir: str | None, data_name: str | None) -> Path | None:
    """`data_dir`, or the directory that `data_name` brings along; None for synthetic images."""
    entry = _ENTRIES.get(data_name) if data_name is not None else None
    if data_dir is None and entry is not None:
        data_dir = entry.default_dir
    # Unlike Path.expanduser it leaves a user alone that there is not.
    return None if data_dir is None else Path(os.path.expanduser(data_dir))


def guess_name(directory: Path) -> str:
    """The data set in a directory: by its manifest, its name or its parent's, or shard counts.

    A data set that is written at its first use is meant by its exact name alone.

    Raises:
        DataError: the directory is missing, its conversion is not complete, or nothing in it tells.
    """
    place = Path(os.path.abspath(directory))
    is_written_at_first = place.name in _ENTRIES and _ENTRIES[place.name].default_dir is not None
    if not directory.is_dir():
        if is_written_at_first:
            return place.name
        raise DataError(f"data directory {directory} does not exist")
    manifest = manifest_of(directory)
    if manifest is not None:
        return manifest.name if manifest.name in _ENTRIES else "folder"
    if is_written_at_first:
        return place.name
    for part in (place.name, place.parent.name):
        for name in ("imagenet", "cifar10"):
            if name in part.lower():
                return name
    # Where `find_shards` looks, and no deeper: there may be millions of images.
    for folder in (directory, *(directory / subset for subset in SUBSETS)):
        if any(folder.glob("train-*-of-01024")) or any(folder.glob("validation-*-of-00128")):
            return "imagenet"
    for subset in SUBSETS:
        refuse_unfinished(directory, subset)  # which is why there is no manifest
    raise DataError(
        f"cannot tell which data set {directory} holds: give --data_name={{{','.join(_ENTRIES)}}}"
    )


def _augmenting(dataset: Dataset, batches: BatchOptions) -> Dataset:
    """The data set, which is a dataclass, with the batch augmentation that was asked for."""
    if batches.change_nothing:
        return dataset

    from preprocessing.augmentation.batch_augmentation import BatchAugmentation

    return replace(cast("Any", dataset), batch_augmentation=BatchAugmentation(batches))


def _open_synthetic(name: str) -> Dataset:
    entry = _ENTRIES[name]
    if not entry.num_classes:
        raise UsageError(f"--data_name={name} needs --data_dir")

    from preprocessing.synthetic import SyntheticDataset

    num_train, num_validation = entry.sizes
    sizes = {"train": num_train, "validation": num_validation}
    return SyntheticDataset(name, entry.num_classes, sizes)


def _resolve(opener: str):
    module, function = opener.split(":")
    return getattr(importlib.import_module(module), function)
