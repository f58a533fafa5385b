"""Any set of labelled images that was converted from one folder a class."""

from __future__ import annotations

import functools
from pathlib import Path

from preprocessing.errors import DataError
from preprocessing.imagenet_images import eval_image, train_image
from preprocessing.manifest_check import manifest_of
from preprocessing.options import ImageOptions, ReadingOptions
from preprocessing.record_dataset import RecordDataset


def open_folder(data_dir: Path, images: ImageOptions, reading: ReadingOptions) -> RecordDataset:
    """A converted set of class folders, treated as ImageNet's images are.

    Raises:
        DataError: there is no manifest, by which alone the number of classes is known.
    """
    manifest = manifest_of(data_dir)
    if manifest is None:
        raise DataError(
            f"{data_dir} has no manifest.json, which tells the number of classes: convert the "
            "class folders with download_and_convert_imagenet"
        )
    return RecordDataset(
        name="folder",
        num_classes=manifest.num_classes,
        data_dir=data_dir,
        train_image=functools.partial(train_image, images),
        eval_image=functools.partial(eval_image, images),
        reading=reading,
    )
