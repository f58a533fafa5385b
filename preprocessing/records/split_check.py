"""A shard of one split among those of another, told by the names of ImageNet's images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from common.errors import DataError
from preprocessing.records.shards import ShardSet
from preprocessing.records.tfrecord import FRAME_BYTES, HEADER_BYTES, walk_records

# image/filename, as every converter of ImageNet writes it. Sets of class folders have the folder in
# front ("n01440764/n01440764_10026.JPEG"): their validation images may come from ImageNet's train.
_NAMES = {"train": re.compile(r"n\d{8}_\d+\b"), "validation": re.compile(r"ILSVRC2012_val_\d+\b")}
_NUM_THREADS = 16  # waiting for the disk


def check_first_records(shards: ShardSet, paths: Sequence[Path]) -> None:
    """Look at the first record of every file: a renamed shard of another split is refused.

    Raises:
        DataError: the name of an image is that of another split's.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for path, name in zip(paths, threads.map(_first_image, paths), strict=True):
            if problem := other_split(name, shards.subset):
                raise DataError(f"{path}: record 0: {problem}: put the right shard in its place")


def other_split(name: str, subset: str) -> str | None:
    """What is wrong with an image of that name in a split; None where the name does not tell."""
    for split, form in _NAMES.items():
        if split != subset and form.match(name):
            return f"{name} is an image of the {split} split, not of {subset}"
    return None


def image_name(serialized: bytes) -> str:
    """`image/filename` of a tf.train.Example; "" where there is none."""
    try:
        values = tf.train.Example.FromString(serialized).features.feature
        return values["image/filename"].bytes_list.value[0].decode()
    except Exception:  # no example, no name: the parser will say so where it matters
        return ""


def _first_image(path: Path) -> str:
    span = next(walk_records(path))
    if span.problem:
        return ""
    with path.open("rb") as file:
        return image_name(file.read(span.num_bytes)[HEADER_BYTES : HEADER_BYTES - FRAME_BYTES])
