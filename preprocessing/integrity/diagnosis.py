"""Explains errors of TensorFlow's iterators in one line that names the file and the record."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from common.errors import DataError
from preprocessing.integrity.contents import verify_shard
from preprocessing.integrity.record_checks import check_records, describe_problem, located_problem
from preprocessing.records.counts import damage_error
from preprocessing.records.shards import SUBSETS, list_shards
from preprocessing.records.tfrecord import HEADER_BYTES, record_at, walk_records

_OWN_ERROR = re.compile(r"DataError: (.+)")
_DAMAGED = re.compile(r"(?:corrupted|truncated) record at (\d+)")
_GRAPH_NODE = re.compile(r"\{\{.*?\}\}")
_DECODER_WORDS = ("jpeg", "png", "gif", "bmp", "image")
_MAX_SEARCH_SECS = 60.0


def explain(error: tf.errors.OpError, data_dir: Path, num_classes: int) -> DataError:
    """Explains an error of an iterator over the shards in `data_dir`.

    TensorFlow's messages name no file. A damaged record is found by its offset, an image that
    cannot be decoded by decoding the files again, for at most a minute.
    """
    message = error.message or str(error)
    if match := _OWN_ERROR.search(message):
        return DataError(match[1])
    if match := _DAMAGED.search(message):
        return _explain_damage(data_dir, int(match[1]))
    if line := located_problem(message, num_classes):
        return DataError(line)
    first_line = _GRAPH_NODE.sub("", message.splitlines()[0]).strip()
    if "iterator" not in message.lower():
        return DataError(f"TensorFlow failed, but not because of its input: {first_line}")
    if any(word in message.lower() for word in _DECODER_WORDS):
        return _explain_unreadable(data_dir, num_classes)
    return DataError(f"cannot read the data in {data_dir}: {first_line}")


def _explain_damage(data_dir: Path, offset: int) -> DataError:
    """Finds the file whose record at `offset` is damaged: in others an intact record is there."""
    # TensorFlow gives the offset of the record if its header is damaged, else that of its data.
    for path, start in itertools.product(_all_paths(data_dir), (offset, offset - HEADER_BYTES)):
        if 0 <= start < path.stat().st_size and (span := record_at(path, start)).problem:
            index = _number_of_record(path, start)
            if index is not None:
                return damage_error(path, index, start, span.problem)
    return DataError(
        f"a record at byte {offset} of a shard in {data_dir} cannot be read: the disk or the "
        "network failed, or the file has changed"
    )


def _number_of_record(path: Path, offset: int) -> int | None:
    """Returns which record starts at `offset`, None if `offset` lies within a record."""
    for index, span in enumerate(walk_records(path)):
        if span.offset >= offset:
            return index if span.offset == offset else None
    return None


def _explain_unreadable(data_dir: Path, num_classes: int) -> DataError:
    """Finds the first record that cannot be parsed or whose image cannot be decoded."""
    deadline = time.monotonic() + _MAX_SEARCH_SECS
    for path in _all_paths(data_dir):
        contents = verify_shard(path)
        for checked in check_records(path, contents, num_classes, decode_every=1, find_holes=False):
            if checked.problem:
                return DataError(describe_problem(path, checked.index, checked.problem))
        if time.monotonic() > deadline:
            break
    return DataError(
        f"a record in {data_dir} cannot be decoded; find it with: "
        f"python -m preprocessing.verify --decode {data_dir}"
    )


def _all_paths(data_dir: Path) -> Iterator[Path]:
    for subset in SUBSETS:
        try:
            # Of any size: a shard may have been truncated since the run started to read it.
            yield from list_shards(data_dir, subset).paths
        except DataError:
            continue  # an absent split has no damaged file
