"""ImageNet (ILSVRC 2012): 1,281,167 training and 50,000 validation images of 1000 classes.

CIFAR-10: 50,000 training and 10,000 validation images of 32x32 pixels in ten classes.

Any set of labeled images that was converted from one folder a class.

scikit-learn's handwritten digits, written as TFRecords when they are used for the first time.
"""

from __future__ import annotations

import functools
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
from preprocessing.record_dataset import RecordDataset
from preprocessing.records.shards import check_manifest

IMAGENET_CLASSES = 1000


def open_imagenet(directory: Path, data: DataParams) -> RecordDataset:
    """ImageNet from the TFRecords that every converter since 2016 writes.

    Raises:
        DataError: the manifest beside the shards names another number of classes.
    """
    check_manifest(directory, "imagenet", IMAGENET_CLASSES)
    return RecordDataset(
        name="imagenet",
        num_classes=IMAGENET_CLASSES,
        data_dir=directory,
        train_image=functools.partial(train_image, data),
        eval_image=functools.partial(eval_image, data),
        data=data,
    )


CIFAR10_CLASSES = 10


def open_cifar10(directory: Path, data: DataParams) -> RecordDataset:
    """CIFAR-10 as TFRecords with ImageNet's keys and labels 1 to 10.

    Raises:
        UsageError: an option of ImageNet's crops was given.
        DataError: the manifest beside the shards names another number of classes.
    """
    _refuse_view_flags("cifar10", data)
    check_manifest(directory, "cifar10", CIFAR10_CLASSES)
    return RecordDataset(
        name="cifar10",
        num_classes=CIFAR10_CLASSES,
        data_dir=directory,
        train_image=cifar_train_image,
        eval_image=whole_eval_image,
        data=data,
    )


def open_folder(directory: Path, data: DataParams) -> RecordDataset:
    """A converted set of class folders, treated as ImageNet's images are.

    Raises:
        DataError: there is no manifest, by which alone the number of classes is known.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise DataError(
            f"{directory} has no manifest.json, which tells the number of classes: convert the "
            "class folders with download_and_convert_imagenet"
        )
    return RecordDataset(
        name="folder",
        num_classes=manifest.num_classes,
        data_dir=directory,
        train_image=functools.partial(train_image, data),
        eval_image=functools.partial(eval_image, data),
        data=data,
    )


def open_digits(directory: Path, data: DataParams) -> RecordDataset:
    """The digits data set in `data_dir`, converted there if it is not.

    Raises:
        UsageError: an option of ImageNet's crops was given.
        DataError: scikit-learn is missing, or the directory holds other files, is the current one,
            or cannot be written.
    """
    _refuse_view_flags("digits", data)
    if not (directory / FILE_NAME).exists():
        _convert(directory)
    check_manifest(directory, "digits", len(CLASS_NAMES))
    return RecordDataset(
        name="digits",
        num_classes=len(CLASS_NAMES),
        data_dir=directory,
        train_image=digit_train_image,
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
            raise UsageError(
                f"--{flag}={value} has no effect on {name}, which has its own crop and resize: "
                "leave it out"
            )


def _convert(data_dir: Path) -> None:
    try:
        if data_dir.exists():
            _refuse_to_replace(data_dir)
        convert_digits(data_dir.resolve())
    except ImportError as error:
        raise DataError(
            f"the digits data set comes with scikit-learn ({error}): pip install '.[demo]'"
        ) from error
    except OSError as error:
        if not (data_dir / FILE_NAME).exists():  # or another process has just written it
            raise DataError(f"cannot write the digits data set to {data_dir}: {error}") from error


def _refuse_to_replace(data_dir: Path) -> None:
    """The data set takes the place of a directory, which has to be empty."""
    if any(data_dir.iterdir()):
        if (data_dir / FILE_NAME).exists():  # another process has just written it
            return
        raise DataError(
            f"{data_dir} holds other files than the digits data set (no {FILE_NAME}): choose "
            "another --data_dir"
        )
    # The program would be left in a directory that is gone.
    if data_dir.samefile(Path.cwd()):
        raise DataError(
            "the digits data set cannot take the place of the current directory: choose another "
            "--data_dir"
        )
