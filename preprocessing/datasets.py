"""Opens the data sets: ImageNet, CIFAR-10, converted class folders and scikit-learn's digits."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from benchmark_cnn.params.data_params import VIEW_FLAGS, DataParams
from benchmark_cnn.params.params import FLAGS
from common.errors import DataError, UsageError
from download_and_convert_imagenet.digits import CLASS_NAMES, convert_digits
from download_and_convert_imagenet.records.manifest import FILE_NAME, read_manifest
from preprocessing.images.views import (
    cifar_train_image,
    digit_train_image,
    eval_image,
    train_image,
    whole_eval_image,
)
from preprocessing.record_dataset import RecordDataset, TrainImage
from preprocessing.records.shards import check_manifest

_IMAGENET_CLASSES = 1000
_CIFAR10_CLASSES = 10


def open_imagenet(directory: Path, data: DataParams) -> RecordDataset:
    """Opens ImageNet (ILSVRC 2012) in the TFRecords that every converter since 2016 writes.

    Raises:
        DataError: the manifest in the directory has another number of classes.
    """
    check_manifest(directory, "imagenet", _IMAGENET_CLASSES)
    return _with_imagenet_views("imagenet", _IMAGENET_CLASSES, directory, data)


def open_folder(directory: Path, data: DataParams) -> RecordDataset:
    """Opens a converted set of class folders, which gets ImageNet's views.

    Raises:
        DataError: there is no manifest, the only source of the number of classes.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise DataError(
            f"{directory} has no manifest.json, which contains the number of classes: convert the "
            "class folders with download_and_convert_imagenet"
        )
    dataset = _with_imagenet_views("folder", manifest.num_classes, directory, data)
    return replace(dataset, multi_label=manifest.multi_label)


def open_cifar10(directory: Path, data: DataParams) -> RecordDataset:
    """Opens CIFAR-10 in TFRecords with ImageNet's keys and labels 1 to 10.

    Raises:
        UsageError: a flag of ImageNet's views is set.
        DataError: the manifest in the directory has another number of classes.
    """
    _refuse_view_flags("cifar10", data)
    return _of_small_images("cifar10", _CIFAR10_CLASSES, directory, data)


def open_digits(directory: Path, data: DataParams) -> RecordDataset:
    """Opens scikit-learn's handwritten digits, and writes them to TFRecords on the first use.

    Raises:
        UsageError: a flag of ImageNet's views is set.
        DataError: scikit-learn is missing, or the directory holds other files, is the current one,
            or cannot be written.
    """
    _refuse_view_flags("digits", data)
    if not (directory / FILE_NAME).exists():
        _convert_digits(directory)
    return _of_small_images("digits", len(CLASS_NAMES), directory, data)


def train_view(name: str, data: DataParams) -> TrainImage:
    """Returns how training draws the view of an example of the data set with this name."""
    views = {"cifar10": cifar_train_image, "digits": digit_train_image}
    return functools.partial(views.get(name, train_image), data)


def _with_imagenet_views(
    name: str, num_classes: int, directory: Path, data: DataParams
) -> RecordDataset:
    return RecordDataset(
        name=name,
        num_classes=num_classes,
        data_dir=directory,
        train_image=train_view(name, data),
        eval_image=functools.partial(eval_image, data),
        data=data,
    )


def _of_small_images(
    name: str, num_classes: int, directory: Path, data: DataParams
) -> RecordDataset:
    check_manifest(directory, name, num_classes)
    return RecordDataset(
        name=name,
        num_classes=num_classes,
        data_dir=directory,
        train_image=train_view(name, data),
        eval_image=whole_eval_image,
        data=data,
    )


def _refuse_view_flags(name: str, data: DataParams) -> None:
    """Checks that no flag of ImageNet's views is set for a data set that has its own.

    Raises:
        UsageError: a flag differs from its default.
    """
    for flag in VIEW_FLAGS:
        value = getattr(data, flag)
        if value != FLAGS[flag].default:
            default = FLAGS[flag].default
            advice = "leave it out"
            if default is not None:
                advice += f", or give --{flag}={default} if a run or an exported file says it"
            raise UsageError(
                f"--{flag}={value} has no effect on {name}, which has its own crop and resize: "
                f"{advice}"
            )


def _convert_digits(data_dir: Path) -> None:
    try:
        if data_dir.exists():
            _check_replaceable(data_dir)
        convert_digits(data_dir.resolve())
    except ImportError as error:
        raise DataError(
            f"the digits data set comes with scikit-learn ({error}): pip install scikit-learn"
        ) from error
    except OSError as error:
        if not (data_dir / FILE_NAME).exists():  # else another process has just written it
            raise DataError(f"cannot write the digits data set to {data_dir}: {error}") from error


def _check_replaceable(data_dir: Path) -> None:
    """Checks that a directory, which the data set replaces, is empty and not the current one.

    Raises:
        DataError: it is not.
    """
    if any(data_dir.iterdir()):
        if (data_dir / FILE_NAME).exists():  # another process has just written it
            return
        raise DataError(
            f"{data_dir} holds other files than the digits data set (no {FILE_NAME}): choose "
            "another --data_dir"
        )
    # The process would keep a working directory that no longer exists.
    if data_dir.samefile(Path.cwd()):
        raise DataError(
            "the digits data set cannot replace the current directory: choose another --data_dir"
        )
