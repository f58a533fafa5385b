"""Explains errors of TensorFlow's iterators in one line that names the file and the record."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from common.errors import DataError
from common.paths import quoted
from preprocessing.integrity.contents import verify_shard
from preprocessing.integrity.record_causes import problem_of_record
from preprocessing.integrity.record_checks import check_records, describe_problem
from preprocessing.records.counts import damage_error
from preprocessing.records.examples import BAD_RECORD
from preprocessing.records.shards import list_shards
from preprocessing.records.tfrecord import HEADER_BYTES, record_at, walk_records

_OWN_ERROR = re.compile(r"DataError: (.+)")
_DAMAGED = re.compile(r"(?:corrupted|truncated) record at (\d+)")
# The form of the Assert errors of `examples.parse_example`.
_LOCATED = re.compile(rf"{BAD_RECORD}\] \[(.+?)\] \[(\d+)\]")
# The parser names the key that holds another type, the decoder no key.
_BAD_KEY = re.compile(r"Key: \S+\. ")
_GRAPH_NODE = re.compile(r"\{\{.*?\}\}")
_NO_CAUSE = ("Graph execution error:", "Detected at node")
_MAX_SEARCH_SECS = 60.0


def explain(error: tf.errors.OpError, data_dir: Path, subset: str, num_classes: int) -> DataError:
    """Explains an error of an iterator over the shards of `subset` in `data_dir`.

    TensorFlow's messages name no file. A damaged record is found by its offset, an image that
    cannot be decoded by decoding the files of the split again, for at most a minute.
    """
    message = error.message or str(error)
    if match := _OWN_ERROR.search(message):
        return DataError(match[1])
    paths = _paths(data_dir, subset)
    if match := _DAMAGED.search(message):
        return _explain_damage(paths, data_dir, int(match[1]))
    if match := _LOCATED.search(message):
        return _explain_located(paths, match[1], int(match[2]), num_classes)
    cause = _cause(message)
    if "iterator" not in message.lower():
        return DataError(f"TensorFlow failed, but not because of its input: {cause}")
    decode_every = 0 if _BAD_KEY.search(message) else 1
    if line := _first_problem(paths, num_classes, decode_every):
        return DataError(line)
    return DataError(
        f"cannot read the {subset} split in {data_dir}: {cause}; look for damage with: "
        f"python -m preprocessing.verify --decode {quoted(data_dir)}"
    )


def _explain_located(paths: Sequence[Path], name: str, index: int, num_classes: int) -> DataError:
    """Reads the record that failed again to say what is wrong with it."""
    # Python cannot read an error with bytes that are not text: the name has replacements for them.
    named = [path for path in paths if os.fsencode(path).decode(errors="replace") == name]
    problem = problem_of_record(named[0], index, num_classes) if named else ""
    return DataError(describe_problem(name, index, problem or "it gives no labeled image"))


def _cause(message: str) -> str:
    """Returns the first line of TensorFlow's message that says something."""
    lines = [_GRAPH_NODE.sub("", line).strip() for line in message.splitlines()]
    says = [line for line in lines if line and not line.startswith(_NO_CAUSE)]
    return next(iter(says), "no reason is given")


def _explain_damage(paths: Sequence[Path], data_dir: Path, offset: int) -> DataError:
    """Finds the file whose record at `offset` is damaged: in others an intact record is there."""
    # TensorFlow gives the offset of the record if its header is damaged, else that of its data.
    for path, start in itertools.product(paths, (offset, offset - HEADER_BYTES)):
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


def _first_problem(paths: Sequence[Path], num_classes: int, decode_every: int) -> str:
    """Returns the line about the first record that cannot be read, "" if none is found in time."""
    deadline = time.monotonic() + _MAX_SEARCH_SECS
    for path in paths:
        contents = verify_shard(path)
        for checked in check_records(
            path, contents, num_classes, decode_every=decode_every, find_holes=False
        ):
            if checked.problem:
                return describe_problem(path, checked.index, checked.problem)
            if time.monotonic() > deadline:
                return ""
    return ""


def _paths(data_dir: Path, subset: str) -> tuple[Path, ...]:
    try:
        # Of any size: a shard may have been truncated since the run started to read it.
        return list_shards(data_dir, subset).paths
    except DataError:
        return ()
