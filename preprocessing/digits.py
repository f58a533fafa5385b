"""scikit-learn's handwritten digits, written as TFRecords when they are used for the first time."""

from __future__ import annotations

from pathlib import Path

from download_and_convert_imagenet.digits import CLASS_NAMES, convert_digits
from download_and_convert_imagenet.manifest import FILE_NAME
from preprocessing.errors import DataError
from preprocessing.manifest_check import check_manifest
from preprocessing.options import ImageOptions, ReadingOptions, refuse_image_options
from preprocessing.record_dataset import RecordDataset
from preprocessing.small_images import digit_train_image, whole_eval_image


def open_digits(data_dir: Path, images: ImageOptions, reading: ReadingOptions) -> RecordDataset:
    """The digits data set in `data_dir`, converted there if it is not.

    Raises:
        DataOptionError: an option of ImageNet's crops was given.
        DataError: scikit-learn is missing, or the directory cannot be written.
    """
    refuse_image_options("digits", images)
    if not (data_dir / FILE_NAME).exists():
        _convert(data_dir)
    check_manifest(data_dir, "digits", len(CLASS_NAMES))
    return RecordDataset(
        name="digits",
        num_classes=len(CLASS_NAMES),
        data_dir=data_dir,
        train_image=digit_train_image,
        eval_image=whole_eval_image,
        reading=reading,
    )


def _convert(data_dir: Path) -> None:
    try:
        convert_digits(data_dir)
    except ImportError as error:
        raise DataError(
            f"the digits data set comes with scikit-learn ({error}): pip install '.[demo]'"
        ) from error
    except OSError as error:
        if not (data_dir / FILE_NAME).exists():  # or another process has just written it
            raise DataError(f"cannot write the digits data set to {data_dir}: {error}") from error
