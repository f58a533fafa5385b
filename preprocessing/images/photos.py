"""Reads photos of any format, color mode, size and orientation, and makes evaluation views of them.

Training data is decoded by `decoding` instead, which is faster and knows fewer formats. Both give
the same pixels for a JPEG of common size.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError
from download_and_convert_imagenet.sources.image_source import IMAGE_SUFFIXES

# Beyond this, decoding needs gigabytes: 1 billion pixels, three bytes each.
MAX_PIXELS = 1_000_000_000
# Bilinear resizing uses neighboring pixels only, so a larger image is first averaged down until its
# shorter side is one to two times this.
LARGE_SIDE = 1024
WHOLE = "whole"  # an eval_method of `photo_view` besides those of --eval_method
_WHITE = (255, 255, 255)
# A gray value of 16 bits to one of 8: 65535 -> 255.
_SIXTEEN_TO_EIGHT_BITS = 257


def find(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Lists the files of `paths`; a directory is replaced by the images in it, sorted by name.

    A path that does not exist, or a directory that has no images or cannot be listed, is kept:
    reading it raises the error.
    """
    found = []
    for path in map(Path, paths):
        try:
            found += _images_in(path) if os.path.isdir(path) else [path]
        except DataError:
            found.append(path)
    return found


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads the pixels of an image file: uint8 [height, width, 3], RGB.

    Of several frames the first is used, rotated by its EXIF orientation. Transparent parts become
    white.

    Raises:
        DataError: the file is missing, not an image, damaged, or has more than MAX_PIXELS; or it is
            a directory.
    """
    if os.path.isdir(path):
        raise DataError(f"{path} is a directory of {len(_images_in(Path(path)))} images")
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(f"{path} has {width} x {height} pixels, more than {MAX_PIXELS:,}")
            if image.format == "JPEG" and min(image.size) >= 2 * LARGE_SIDE:
                image.draft("RGB", (LARGE_SIDE, LARGE_SIDE))  # decodes fewer pixels
            return np.asarray(_upright_rgb(image))
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not an image that can be read") from error
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of any class for damaged files
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error


def photo_view(pixels: np.ndarray, image_size: int, eval_method: str, **options: Any) -> np.ndarray:
    """Makes the view of a photo that evaluation makes of validation images.

    Args:
        pixels: uint8 [height, width, 3], RGB.
        image_size: height and width of the view in pixels.
        eval_method: a value of --eval_method, or "whole" for the whole image, resized.
        options: fields of `DataParams`: resize_method, resize_kernels and eval_crop_fraction.

    Returns:
        float32 [image_size, image_size, 3] in 0..255.
    """
    # Reading and finding photos needs no TensorFlow.
    import tensorflow as tf

    from preprocessing.images.views import eval_image, whole_eval_image
    from preprocessing.records.examples import Example

    # Encoded as PNG without loss, the pixels take exactly the path of the validation images.
    example = Example(tf.io.encode_png(pixels), tf.constant(0), tf.zeros([0, 4]))
    position = tf.constant(0, tf.int64)
    if eval_method == WHOLE:
        return whole_eval_image(example, image_size, position).numpy()
    data = DataParams(eval_method=eval_method, **options)
    return eval_image(data, example, image_size, position).numpy()


def allow_large_images() -> None:
    """Lets Pillow open images up to MAX_PIXELS; by default it refuses 179 million as an attack."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def _images_in(directory: Path) -> list[Path]:
    """Lists images by name; raises DataError if there is none or the directory cannot be listed."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise DataError(f"{directory} cannot be read: {_reason(error)}") from error
    files = [directory / name for name in names]
    images = [
        file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(file)
    ]
    if not images:
        raise DataError(f"no images in {directory} (looked for {' '.join(sorted(IMAGE_SUFFIXES))})")
    return images


def _reason(error: Exception) -> str:
    """Returns the message of an error in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def _upright_rgb(image: Image.Image) -> Image.Image:
    shorter = min(image.size)
    image.load()
    # First, because converted images lose the orientation; in place, because a copy of an image
    # that is upright already would double the memory.
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _eight_bit_gray(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", rgba.size, _WHITE)
        image.paste(rgba, mask=rgba.getchannel("A"))
    elif image.mode != "RGB":
        image = image.convert("RGB")
    factor = max(1, shorter // LARGE_SIDE)
    if factor > 1:
        image = image.reduce(factor)
    return image


def _eight_bit_gray(image: Image.Image) -> Image.Image:
    """Converts 16 bits to 8, and floating point from its own range (0..1, 0..255 or 0..65535)."""
    values = np.nan_to_num(np.asarray(image, np.float64))
    highest = values.max(initial=0.0)
    if image.mode == "F" and highest <= 1:
        values = values * 255
    elif image.mode != "F" or highest > 255:
        values = values / _SIXTEEN_TO_EIGHT_BITS
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
