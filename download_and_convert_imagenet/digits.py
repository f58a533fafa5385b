"""scikit-learn's 1,797 handwritten digits as JPEG TFRecords: real data without a download.

The images are 8x8 with 17 gray levels (UCI optical recognition of handwritten digits, test part).
They are enlarged to 32x32, so that detail is left after JPEG blocks and a network's first stride.

The split is fixed: within each class the images are sorted by the SHA-256 of "<seed>/<index>", and
the first fifth, rounded, is the validation set.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from download_and_convert_imagenet.records.manifest import Manifest, Shard, write_manifest
from download_and_convert_imagenet.records.shard_writer import shard_ranges, write_shard
from download_and_convert_imagenet.records.tf_example import LabeledImage, encode_image

IMAGE_SIZE = 32
JPEG_QUALITY = 97
NUM_SHARDS = {"train": 8, "validation": 2}
CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MAX_GRAY = 16
_VALIDATION_FRACTION = 0.2
_SPLIT_SEED = 1


def convert_digits(directory: Path) -> Manifest:
    """Writes the digits data set to `directory`, which appears only when it is complete.

    Leftovers of killed calls are removed.

    Raises:
        ImportError: scikit-learn, which contains the images, is not installed.
        OSError: the directory cannot be written, or exists.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.reshape(pixels, (-1, 8, 8))
    directory.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(directory)
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        splits = {
            split: _write_split(partial, split, indices, images, labels)
            for split, indices in split_indices(labels).items()
        }
        manifest = Manifest("digits", CLASS_NAMES, splits)
        write_manifest(partial, manifest)
        partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _remove_leftovers(directory: Path) -> None:
    """Removes the partial directories of processes that have ended."""
    form = re.compile(rf"\.{re.escape(directory.name)}\.(\d+)\.partial")
    for path in directory.parent.iterdir():
        match = form.fullmatch(path.name)
        if match and not _is_running_elsewhere(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_running_elsewhere(process: int) -> bool:
    """Returns whether another process with this id is running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return process != os.getpid()  # in a container, the previous process had the same id


def split_indices(labels: np.ndarray) -> dict[str, list[int]]:
    """Returns the image numbers of the two splits, classes mixed, in the order of writing."""
    splits: dict[str, list[int]] = {"train": [], "validation": []}
    for label in range(len(CLASS_NAMES)):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=_split_key)
        num_validation = round(len(members) * _VALIDATION_FRACTION)
        splits["validation"] += members[:num_validation]
        splits["train"] += members[num_validation:]
    return {split: sorted(indices, key=_split_key) for split, indices in splits.items()}


def _split_key(index: int) -> str:
    return hashlib.sha256(f"{_SPLIT_SEED}/{index}".encode()).hexdigest()


def _write_split(
    directory: Path, split: str, indices: list[int], images: np.ndarray, labels: np.ndarray
) -> tuple[Shard, ...]:
    records = [_encode_digit(index, images[index], int(labels[index])) for index in indices]
    num_shards = NUM_SHARDS[split]
    return tuple(
        write_shard(directory, split, shard, num_shards, (records[number] for number in numbers))
        for shard, numbers in enumerate(shard_ranges(len(records), num_shards))
    )


def _encode_digit(index: int, gray: np.ndarray, digit: int) -> bytes:
    """Returns one record; `gray` is float [8, 8] in 0..16."""
    levels = np.round(gray * (255 / _MAX_GRAY)).astype(np.uint8)
    image = Image.fromarray(levels).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    image.convert("RGB").save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return encode_image(
        LabeledImage(
            encoded=encoded.getvalue(),
            height=IMAGE_SIZE,
            width=IMAGE_SIZE,
            label=digit + 1,
            filename=f"digit_{index:04d}.jpg",
            synset=str(digit),
            text=CLASS_NAMES[digit],
        )
    )
