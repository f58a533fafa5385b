"""Finds photos and reads them as the converter stores them: predictions see what training saw.

docs/data.md, "Pixels", says what becomes of formats, color modes, sizes and orientations.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError
from download_and_convert_imagenet.records.image_headers import CorruptImageError
from download_and_convert_imagenet.records.image_repair import prepare_image
from download_and_convert_imagenet.sources.folders.tree import (
    NO_SUFFIX,
    SPECIAL,
    counted,
    reason_of_name,
    scan,
)
from download_and_convert_imagenet.sources.image_source import IMAGE_SUFFIXES, LeftOut

_FOLDER = "folders below"
WHOLE = "whole"  # an eval_method of `photo_view` besides those of --eval_method


def find(
    paths: Iterable[str | os.PathLike[str]], left_out: list[LeftOut] | None = None
) -> list[Path]:
    """Lists the files of `paths`; a directory is replaced by the images in it, sorted by name.

    A path that does not exist, or a directory that has no images or cannot be listed, is kept:
    reading it raises the error.

    Args:
        left_out: what else the directories hold is added.
    """
    found = []
    for path in map(Path, paths):
        try:
            found += _images_in(path, left_out) if os.path.isdir(path) else [path]
        except DataError:
            found.append(path)
    return found


def load(path: str | os.PathLike[str]) -> bytes:
    """Returns a photo as a JPEG or PNG that TensorFlow decodes: the bytes of a converted record.

    Raises:
        DataError: the file is missing, not an image, damaged, or too large; or it is a directory.
    """
    if os.path.isdir(path):
        raise DataError(f"{path} is a directory of {len(_images_in(Path(path)))} images")
    try:
        return prepare_image(Path(path).read_bytes(), keep_png=True, upright=True).encoded
    except CorruptImageError as error:
        raise DataError(f"{path} {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error
    except MemoryError as error:
        raise DataError(f"{path} cannot be read: memory ran out") from error


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads the pixels of a photo: uint8 [height, width, 3], RGB; raises DataError as `load`."""
    import tensorflow as tf

    from preprocessing.images.decoding import decode_window, whole_image

    with naming(path):
        return decode_window(tf.constant(load(path)), whole_image).numpy()


def photo_view(
    path: str | os.PathLike[str], image_size: int, eval_method: str, **options: Any
) -> np.ndarray:
    """Makes the view of a photo that evaluation makes of validation images.

    Args:
        path: the photo; errors are those of `load`.
        image_size: height and width of the view in pixels.
        eval_method: a value of --eval_method, or "whole" for the whole image, resized.
        options: fields of `DataParams`: resize_method, resize_kernels and eval_crop_fraction.

    Returns:
        float32 [image_size, image_size, 3] in 0..255.
    """
    # Reading and finding photos needs no TensorFlow.
    import tensorflow as tf

    encoded = tf.constant(load(path))
    with naming(path):
        return encoded_view(encoded, image_size, eval_method, **options).numpy()


def encoded_view(
    encoded: Any, image_size: int, eval_method: str, *, position: Any = None, **options: Any
) -> Any:
    """Makes the view of an encoded image in TensorFlow.

    Args:
        encoded: string scalar tensor, a JPEG or PNG; the rest is as in `photo_view`.
        position: int64 scalar tensor, the image's place in its data set, for "round_robin".

    Returns:
        float32 tensor [image_size, image_size, 3] in 0..255.
    """
    import tensorflow as tf

    from preprocessing.images.views import eval_image, whole_eval_image
    from preprocessing.records.examples import Example

    example = Example(encoded, tf.constant(0), tf.zeros([0, 4]))
    position = tf.constant(0, tf.int64) if position is None else position
    if eval_method == WHOLE:
        return whole_eval_image(example, image_size, position)
    return eval_image(DataParams(eval_method=eval_method, **options), example, image_size, position)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Names the photo that TensorFlow cannot decode, though its headers are good."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        raise DataError(f"{path} cannot be decoded") from error


def _images_in(directory: Path, left_out: list[LeftOut] | None = None) -> list[Path]:
    """Lists images by name; raises DataError if there is none or the directory cannot be listed."""
    images, others = [], []
    try:
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                reason = _reason_to_leave_out(entry)
                if reason is None:
                    images.append(directory / entry.name)
                else:
                    others.append(LeftOut(entry.path, reason))
        if not images:
            raise DataError(_describe_no_images(directory, others))
    except OSError as error:
        raise DataError(f"{directory} cannot be read: {_reason(error)}") from error
    if left_out is not None:
        left_out += others
    return images


def _reason_to_leave_out(entry: os.DirEntry[str]) -> str | None:
    suffix = os.path.splitext(entry.name)[1].lower()
    reason = reason_of_name(entry.name)
    if reason is not None:
        return reason
    if entry.is_dir():
        return _FOLDER
    if suffix not in IMAGE_SUFFIXES:
        return suffix or NO_SUFFIX
    # A link to nothing is an image that cannot be read.
    return None if entry.is_file() or entry.is_symlink() else SPECIAL


def _describe_no_images(directory: Path, others: list[LeftOut]) -> str:
    inner = [folder for folder in scan(directory)[0].walk() if folder.images]
    if inner:
        number = sum(len(folder.images) for folder in inner)
        parents = {os.path.dirname(folder.path) for folder in inner}
        is_level = len(inner) > 1 and len(parents) == 1
        advice = f"{quote(parents.pop())}/*" if is_level else f"such as {quote(inner[0].path)}"
        where = f"but {number:,} in folders below"
        return f"no images in {directory} itself, {where}: give those, {advice}"
    reasons = counted(Counter(entry.reason for entry in others))
    return f"no images in {directory} ({reasons or 'it is empty'})"


def _reason(error: Exception) -> str:
    """Returns the message of an error in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
