"""Copies of images within and across the splits of a data set, exact ones and near ones.

An exact copy has the same bytes. A near copy looks the same: its perceptual hash (pHash of the
library imagehash, 64 bits of a small cosine transform) differs in few bits. It survives another
size, compression or brightness, but no mirroring, rotation or other crop.
"""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import DataError
from download_and_convert_imagenet.records.image_headers import CorruptImageError
from download_and_convert_imagenet.records.image_repair import prepare_image
from download_and_convert_imagenet.sources.class_folders import folder_source

HASH_BITS = 64
_SMALL = 128  # pixels: a JPEG is decoded in a size just above, of which the hash takes 32
# Rows and columns of the distances that are computed at once: 16 MB.
_ROWS, _COLUMNS = 256, 8192


class Source(NamedTuple):
    """An image to compare.

    Attributes:
        name: how it is called in messages, with its split.
        split: "train" and so on.
        label: its class by number or name.
        encoded: JPEG or any other format.
    """

    name: str
    split: str
    label: str
    encoded: bytes


class Copy(NamedTuple):
    """Two images that are copies; `distance` is in bits, and None for the same bytes."""

    first: int
    second: int
    distance: int | None


class Images(NamedTuple):
    """All images of a data set, without their pixels.

    Attributes:
        names, splits, labels: of each image, as in `Source`.
        digests: SHA-256 of their bytes.
        hashes: uint64 [images].
        unreadable: messages about the others.
    """

    names: list[str]
    splits: list[str]
    labels: list[str]
    digests: list[bytes]
    hashes: np.ndarray
    unreadable: list[str]


def of_folders(root: Path) -> Iterator[Source]:
    """Yields the images of class folders, in the splits that the converter would make."""
    source = folder_source(root)
    for split, images in source.splits.items():
        for image in images:
            path = getattr(image.location, "path", image.name)
            yield Source(str(path), split, image.synset, image.location.read())


def of_records(splits: Mapping[str, Iterable[Path]]) -> Iterator[Source]:
    """Yields the images of TFRecord shards; damaged records are passed over.

    Args:
        splits: name of the split -> its files.
    """
    import tensorflow as tf

    from preprocessing.integrity.record_causes import read_span
    from preprocessing.records.tfrecord import walk_records

    for split, paths in splits.items():
        for path in paths:
            for number, span in enumerate(walk_records(path)):
                if span.problem:
                    continue
                try:
                    serialized = tf.train.Example.FromString(read_span(path, span))
                    values = serialized.features.feature
                    encoded = values["image/encoded"].bytes_list.value[0]
                except Exception:  # `verify` without --duplicates says what is wrong
                    continue
                named = values["image/filename"].bytes_list.value
                name = named[0].decode("utf-8", "backslashreplace") if named else f"record {number}"
                labels = values["image/class/label"].int64_list.value
                text = values["image/class/text"].bytes_list.value
                label = text[0].decode("utf-8", "backslashreplace") if text else f"{[*labels]}"
                yield Source(f"{path.name}: {name}", split, label, encoded)


def look_at(sources: Iterable[Source], num_threads: int) -> Images:
    """Hashes every image; the pixels of one image per thread are in memory."""
    names, splits, labels, digests, hashes, unreadable = [], [], [], [], [], []
    with ThreadPoolExecutor(num_threads) as threads:
        for batch in _in_batches(sources, 64 * num_threads):
            for source, result in zip(batch, threads.map(_hash, batch), strict=True):
                if isinstance(result, str):
                    unreadable.append(f"{source.name} {result}")
                    continue
                names.append(source.name)
                splits.append(source.split)
                labels.append(source.label)
                digests.append(hashlib.sha256(source.encoded).digest())
                hashes.append(result)
    return Images(names, splits, labels, digests, np.array(hashes, np.uint64), unreadable)


def find_copies(images: Images, max_distance: int) -> list[Copy]:
    """Returns a copy for every image that has one before it: with the one that is nearest.

    Of several, one in another split comes first, since that is what spoils an evaluation.

    Args:
        max_distance: the most bits by which near copies differ.
    """
    best: dict[int, tuple] = {}
    for first, second, bits in chain(_exact(images), _near(images, max_distance)):
        is_within = images.splits[first] == images.splits[second]
        rank = (is_within, -1 if bits is None else bits, first)
        if second not in best or rank < best[second][0]:
            best[second] = (rank, Copy(first, second, bits))
    return [copy for _, (_, copy) in sorted(best.items())]


def describe(images: Images, copy: Copy) -> str:
    """Returns a line that names both images, what they share, and what they do not."""
    first, second, bits = copy
    splits = images.splits[first], images.splits[second]
    where = f"within {splits[0]}" if splits[0] == splits[1] else f"in {splits[0]} and {splits[1]}"
    what = "exact copy" if bits is None else f"near copy ({bits} of {HASH_BITS} bits differ)"
    line = f"{what} {where}: {images.names[first]} and {images.names[second]}"
    if images.labels[first] != images.labels[second]:
        line += f", of the classes {images.labels[first]} and {images.labels[second]}"
    return line


def crosses_splits(images: Images, copy: Copy) -> bool:
    """Returns whether the two images are of different splits."""
    return images.splits[copy.first] != images.splits[copy.second]


def perceptual_hash(encoded: bytes) -> int:
    """Returns the 64 bits of an image's pHash.

    Raises:
        CorruptImageError: it cannot be decoded.
    """
    import imagehash
    from PIL import Image

    prepared = prepare_image(encoded, keep_png=True, upright=True).encoded
    with Image.open(io.BytesIO(prepared)) as image:
        image.draft("L", (_SMALL, _SMALL))
        bits = imagehash.phash(image).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _hash(source: Source) -> int | str:
    """Returns the hash of an image, or why there is none."""
    try:
        return perceptual_hash(source.encoded)
    except CorruptImageError as error:
        return str(error)
    except Exception:  # Pillow's decoders raise errors of many types
        return "cannot be decoded"


def _exact(images: Images) -> Iterator[Copy]:
    """Yields each image after the first of the same bytes, with one of every split before it."""
    seen: dict[bytes, dict[str, int]] = defaultdict(dict)
    for number, (digest, split) in enumerate(zip(images.digests, images.splits, strict=True)):
        for earlier in seen[digest].values():
            yield Copy(earlier, number, None)
        seen[digest].setdefault(split, number)


def _near(images: Images, max_distance: int) -> Iterator[Copy]:
    """Yields pairs of other bytes whose hashes are near.

    Images of one hash and split are one row, so that a thousand copies give no million pairs.
    """
    first_of: dict[tuple[int, str], int] = {}
    splits = dict.fromkeys(images.splits)
    for number, key in enumerate(zip(images.hashes.tolist(), images.splits, strict=True)):
        for split in splits:
            earlier = first_of.get((key[0], split))
            if earlier is not None and images.digests[earlier] != images.digests[number]:
                yield Copy(earlier, number, 0)
        first_of.setdefault(key, number)
    rows = np.array(sorted(first_of.values()), np.int64)
    for first, second, bits in near_pairs(images.hashes[rows], max_distance):
        if bits:
            yield Copy(int(rows[first]), int(rows[second]), bits)


def near_pairs(hashes: np.ndarray, max_distance: int) -> Iterator[tuple[int, int, int]]:
    """Yields (first, second, bits) of the pairs of uint64 that differ in so few bits.

    Every pair is compared, in blocks: about a billion a second on one core.
    """
    for top in range(0, len(hashes), _ROWS):
        rows = hashes[top : top + _ROWS, np.newaxis]
        for left in range(top, len(hashes), _COLUMNS):
            bits = np.bitwise_count(rows ^ hashes[np.newaxis, left : left + _COLUMNS])
            near_rows, near_columns = np.nonzero(bits <= max_distance)
            for row, column in zip(near_rows.tolist(), near_columns.tolist(), strict=True):
                if top + row < left + column:
                    yield top + row, left + column, int(bits[row, column])


def _in_batches(sources: Iterable[Source], size: int) -> Iterator[list[Source]]:
    batch = []
    for source in sources:
        batch.append(source)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def refuse_empty(images: Images, directory: Path) -> None:
    """Raises DataError if there is nothing to compare."""
    if not images.names:
        raise DataError(f"{directory} has no image that can be read")
