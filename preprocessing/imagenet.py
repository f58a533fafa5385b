"""ImageNet (ILSVRC 2012): 1,281,167 training and 50,000 validation images of 1000 classes."""

from __future__ import annotations

import functools
from pathlib import Path

from preprocessing.imagenet_images import eval_image, train_image
from preprocessing.manifest_check import check_manifest
from preprocessing.options import ImageOptions, ReadingOptions
from preprocessing.record_dataset import RecordDataset

NUM_CLASSES = 1000


def open_imagenet(data_dir: Path, images: ImageOptions, reading: ReadingOptions) -> RecordDataset:
    """ImageNet from the TFRecords that every converter since 2016 writes.

    Raises:
        DataError: the manifest beside the shards names another number of classes.
    """
    check_manifest(data_dir, "imagenet", NUM_CLASSES)
    return RecordDataset(
        name="imagenet",
        num_classes=NUM_CLASSES,
        data_dir=data_dir,
        train_image=functools.partial(train_image, images),
        eval_image=functools.partial(eval_image, images),
        reading=reading,
    )
