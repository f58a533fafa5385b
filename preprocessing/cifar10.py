"""CIFAR-10: 50,000 training and 10,000 validation images of 32x32 pixels in ten classes."""

from __future__ import annotations

from pathlib import Path

from preprocessing.manifest_check import check_manifest
from preprocessing.options import ImageOptions, ReadingOptions, refuse_image_options
from preprocessing.record_dataset import RecordDataset
from preprocessing.small_images import cifar_train_image, whole_eval_image

NUM_CLASSES = 10


def open_cifar10(data_dir: Path, images: ImageOptions, reading: ReadingOptions) -> RecordDataset:
    """CIFAR-10 as TFRecords with ImageNet's keys and labels 1 to 10.

    Raises:
        DataOptionError: an option of ImageNet's crops was given.
        DataError: the manifest beside the shards names another number of classes.
    """
    refuse_image_options("cifar10", images)
    check_manifest(data_dir, "cifar10", NUM_CLASSES)
    return RecordDataset(
        name="cifar10",
        num_classes=NUM_CLASSES,
        data_dir=data_dir,
        train_image=cifar_train_image,
        eval_image=whole_eval_image,
        reading=reading,
    )
