"""Lists the images of a converted data set, TFRecords with ImageNet's keys; none is decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import DataError
from common.files import name_file
from download_and_convert_imagenet.records.crc32c import masked_crc32c
from download_and_convert_imagenet.sources import cifar10
from download_and_convert_imagenet.sources.synsets import labels_by_wnid, synsets
from inference.predictions.sources.dataset import DataSet, Image, printable
from preprocessing import registry
from preprocessing.records.counts import describe_damage
from preprocessing.records.examples import IMAGE_KEY, LABEL_KEY
from preprocessing.records.shards import ShardSet, find_shards, is_multi_label
from preprocessing.records.tfrecord import FRAME_BYTES, HEADER_BYTES, walk_records

_NUM_THREADS = 16  # a scan waits for the disk, not for the processor
_CHECKSUM_BYTES = 4


class RecordImage(NamedTuple):
    """The image in one record of a shard; `num_bytes` is the record's size with its frame."""

    path: str
    index: int
    offset: int
    num_bytes: int

    def read(self) -> bytes:
        """Returns the encoded image.

        Raises:
            DataError: the record has changed since it was listed, or is damaged.
            OSError: the file cannot be read.
        """
        values = _features(_record(self)).get(IMAGE_KEY)
        return values.bytes_list.value[0] if values else b""

    @property
    def fingerprint(self) -> str:
        """The place of the record."""
        return f"{self.offset} {self.num_bytes}"


def open_records(directory: Path, name: str, subset: str) -> DataSet:
    """Lists the images of a split, in the order of an evaluation.

    Raises:
        DataError: shards are missing or damaged, or the classes are not known.
    """
    kind = registry.guess_name(directory)
    shards = find_shards(directory, subset)
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        listed = [entry for shard in threads.map(_list, shards.paths) for entry in shard]
    names, ids = _classes(shards, kind, listed)
    for entry in listed:
        if not 1 <= entry.label <= len(names):
            place = entry.location
            raise DataError(
                f"{place.path}: record {place.index} has the label {entry.label}; {kind} has "
                f"labels from 1 to {len(names)}"
            )
    file_names = [entry.file_name for entry in listed]
    is_named = all(file_names) and len(set(file_names)) == len(file_names)
    images = tuple(
        Image(
            entry.file_name if is_named else _place_in_words(entry.location),
            entry.label - 1,
            entry.location,
        )
        for entry in listed
    )
    return DataSet(name, directory, subset, images, names, ids, rule=None)


class _Listed(NamedTuple):
    file_name: str
    label: int
    synset: str
    location: RecordImage


def _list(path: Path) -> list[_Listed]:
    entries = []
    if is_multi_label(path):
        raise DataError(
            f"the images in {path.parent} have several labels, and --data expects one: evaluate "
            "them with eval.py, or give photos (prediction.py DIR)"
        )
    try:
        for index, span in enumerate(walk_records(path)):
            if span.problem:
                raise _damaged(path, index, span.offset, span.problem)
            location = RecordImage(str(path), index, span.offset, span.num_bytes)
            features = _features(_record(location))
            labels = features[LABEL_KEY].int64_list.value if LABEL_KEY in features else ()
            if len(labels) != 1 or IMAGE_KEY not in features:
                raise _damaged(path, index, span.offset, "no image with one label")
            entries.append(
                _Listed(
                    printable(os.fsdecode(_bytes(features, "image/filename"))),
                    labels[0],
                    _bytes(features, "image/class/synset").decode("utf-8", "replace"),
                    location,
                )
            )
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return entries


def _record(place: RecordImage) -> bytes:
    """Returns the data of a record after checking it."""
    with open(place.path, "rb", buffering=0) as file:
        try:
            framed = os.pread(
                file.fileno(), place.num_bytes - HEADER_BYTES, place.offset + HEADER_BYTES
            )
        except OSError as error:
            name_file(error, place.path)
            raise
    data, stored = framed[:-_CHECKSUM_BYTES], framed[-_CHECKSUM_BYTES:]
    if len(framed) != place.num_bytes - FRAME_BYTES + _CHECKSUM_BYTES or int.from_bytes(
        stored, "little"
    ) != masked_crc32c(data):
        raise _damaged(place.path, place.index, place.offset, "the checksum of its data differs")
    return data


def _features(record: bytes) -> Any:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return tf.train.Example.FromString(record).features.feature
    except DecodeError:
        return {}


def _bytes(features: Any, key: str) -> bytes:
    values = features[key].bytes_list.value if key in features else ()
    return values[0] if values else b""


def _damaged(path: str | Path, index: int, offset: int, problem: str) -> DataError:
    line = describe_damage(Path(path), index, offset, problem)
    return DataError(f"{line}: convert or copy the shard again")


def _place_in_words(place: RecordImage) -> str:
    return printable(f"{os.path.basename(place.path)}:{place.index}")


def _classes(
    shards: ShardSet, kind: str, listed: Sequence[_Listed]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names of the classes, and their WordNet ids if all images have one of ImageNet.

    The id of a class without images is "".
    """
    if kind == "imagenet":
        return tuple(s.words for s in synsets()), tuple(s.wnid for s in synsets())
    if shards.manifest is None:
        assert kind == "cifar10"  # which `guess_name` recognizes by the directory's name
        return cifar10.CLASS_NAMES, ()
    names = shards.manifest.class_names
    synset_of = {entry.label: entry.synset for entry in listed}
    ids = tuple(synset_of.get(label, "") for label in range(1, len(names) + 1))
    return names, ids if {*ids} - {""} <= {*labels_by_wnid()} and any(ids) else ()
