"""Finds a shard of one split among those of another, by the names of ImageNet's images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from common.errors import DataError
from preprocessing.records.foreign_files import foreign_file
from preprocessing.records.shards import ShardSet
from preprocessing.records.tfrecord import FRAME_BYTES, HEADER_BYTES, walk_records

# image/filename, as every converter of ImageNet writes it. For class folders the name begins
# with the folder ("n01440764/n01440764_10026.JPEG"): validation images may come from train.
_NAMES = {"train": re.compile(r"n\d{8}_\d+\b"), "validation": re.compile(r"ILSVRC2012_val_\d+\b")}
_NUM_THREADS = 16  # waiting for the disk


def check_first_records(shards: ShardSet, paths: Sequence[Path]) -> None:
    """Checks the first record of every file, to refuse renamed shards of another split.

    Files of another format are refused here, too: no number of damaged records explains them.

    Raises:
        DataError: an image has a name of another split, or a file is not in TFRecord format.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for path, name in zip(paths, threads.map(_first_image, paths), strict=True):
            if problem := other_split(name, shards.subset):
                raise DataError(f"{path}: record 0: {problem}: put the right shard in its place")


def other_split(name: str, subset: str) -> str | None:
    """Describes why an image does not belong to a split, if its name shows that it does not."""
    for split, form in _NAMES.items():
        if split != subset and form.match(name):
            return f"{name} is an image of the {split} split, not of {subset}"
    return None


def image_name(serialized: bytes) -> str:
    """Returns `image/filename` of a tf.train.Example, "" if there is none."""
    try:
        values = tf.train.Example.FromString(serialized).features.feature
        return values["image/filename"].bytes_list.value[0].decode()
    except Exception:  # not an example: the parser reports it where it matters
        return ""


def _first_image(path: Path) -> str:
    span = next(walk_records(path))
    if span.problem:
        if line := foreign_file(path):
            raise DataError(line)
        return ""
    with path.open("rb") as file:
        return image_name(file.read(span.num_bytes)[HEADER_BYTES : HEADER_BYTES - FRAME_BYTES])
