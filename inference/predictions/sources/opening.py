"""Opens a data set by what its directory holds: TFRecords, Kaggle's ImageNet or class folders."""

from __future__ import annotations

import os
from pathlib import Path

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError
from download_and_convert_imagenet.records.manifest import FILE_NAME
from inference.predictions.sources.dataset import DataSet
from inference.predictions.sources.folders import (
    KAGGLE_IMAGES,
    MAPPING_FILE,
    SOLUTION_FILE,
    gives_split,
    open_folders,
    open_kaggle,
)
from preprocessing import registry
from preprocessing.own_photos import photos
from preprocessing.records.shards import SUBSETS, is_present, refuse_unfinished

DEFAULT_DATA = "imagenet"
_HOME = Path("data")  # of data sets that are given by name
_VALIDATION = SUBSETS[1]


def open_dataset(data: str, subset: str | None, of_run: Path | None = None) -> DataSet:
    """Opens a data set.

    Args:
        data: a directory, or the name of one in data/: "imagenet".
        subset: "train", "validation", "test", or None for validation, or all where there are no
            splits. Of class folders that do not have it, the part of a training on them.
        of_run: the data of the run that predicts, if it is known: of photos they say the parts.

    Raises:
        DataError: the directory is missing, damaged or has no reading.
        UsageError: the subset has no effect.
    """
    directory = directory_of(data)
    name = Path(os.path.abspath(directory)).name
    if not directory.exists() and registry.data_directory(None, data) == directory:
        registry.open_dataset(DataParams(data_name=data))  # which writes it
    if not directory.is_dir():
        raise DataError(_describe_missing(data, directory))
    try:
        if _holds_records(directory):
            # It needs TensorFlow, which lists of folders do not.
            from inference.predictions.sources.records import open_records

            found = open_records(directory, name, subset or _VALIDATION)
        elif any((directory / p).exists() for p in (KAGGLE_IMAGES, SOLUTION_FILE, MAPPING_FILE)):
            found = open_kaggle(directory, name, subset)
        elif subset is not None and not gives_split(directory, subset):
            # Those of a training on the folder, which divides it.
            from inference.predictions.sources.records import open_records

            records = photos.records_of(directory, prefer=of_run)
            found = open_records(records.path, name, subset)
        else:
            found = open_folders(directory, name, subset)
    except OSError as error:
        raise DataError(f"{error.filename or directory}: {error.strerror}") from error
    if not found.images:
        raise DataError(f"{directory} has no images")
    return found


def directory_of(data: str) -> Path:
    """Returns the directory of --data; a name without a slash is looked for in data/ first."""
    if os.sep not in data and data not in (os.curdir, os.pardir):
        known = registry.data_directory(None, data)  # digits, which are written at their first use
        home = known or _HOME / data
        if home.is_dir() or not Path(data).is_dir():
            return home
    return Path(data)


def _holds_records(directory: Path) -> bool:
    for subset in SUBSETS:
        refuse_unfinished(directory, subset)
    return (directory / FILE_NAME).exists() or any(is_present(directory, s) for s in SUBSETS)


def _describe_missing(data: str, directory: Path) -> str:
    if directory.exists():
        return f"{directory} is not a directory"
    line = f"{directory} does not exist"
    if data == DEFAULT_DATA:
        return f"{line}: put {KAGGLE_IMAGES}/val, {MAPPING_FILE} and {SOLUTION_FILE} there, or " \
               "give --data=DIR (docs/prediction.md)"  # fmt: skip
    return f"{line}: --data is a directory, or the name of one in {_HOME}/"
