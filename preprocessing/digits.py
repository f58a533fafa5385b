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
        DataError: scikit-learn is missing, or the directory holds other files, is the current one,
            or cannot be written.
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
