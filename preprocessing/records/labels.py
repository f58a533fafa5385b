"""The labels of a split without its images: what classes are counted and balanced by."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from common.errors import DataError
from preprocessing.records.examples import LABEL_KEY
from preprocessing.records.shards import ShardSet
from preprocessing.records.stream import plain_reader, records_in_order

_RECORDS_AT_ONCE = 256


class Labels(NamedTuple):
    """The labels of the records of some shards, in the order of the files.

    Attributes:
        values: int64 [labels], 0-based, those of one record after those of the other.
        per_record: int64 [records]: how many of `values` belong to each.
        per_shard: int64 [shards]: the number of records of each.
    """

    values: np.ndarray
    per_record: np.ndarray
    per_shard: np.ndarray


def labels_of(shards: ShardSet, num_classes: int) -> Labels:
    """Reads the labels of a split in one pass over its files, once per process.

    Raises:
        DataError: a label is out of range, or damaged records are to be skipped: which ones are
            skipped is known only when they are read.
        tf.errors.OpError: a file is damaged.
    """
    if shards.tolerant:
        raise DataError(
            f"the labels of {shards.directory} cannot be counted while damaged records are skipped "
            "(--max_corrupt_records)"
        )
    status = [path.stat() for path in shards.paths]
    labels = _labels_of(shards.paths, tuple((s.st_size, s.st_mtime_ns) for s in status))
    wrong = np.flatnonzero((labels.values < 0) | (labels.values >= num_classes))
    if len(wrong):
        record = int(np.searchsorted(np.cumsum(labels.per_record), wrong[0], side="right"))
        ends = np.cumsum(labels.per_shard)
        shard = int(np.searchsorted(ends, record, side="right"))
        index = record - int(ends[shard] - labels.per_shard[shard])
        raise DataError(
            f"{shards.paths[shard]}: record {index} has label {labels.values[wrong[0]] + 1}, the "
            f"data have labels 1 to {num_classes}: copy the shard again, or convert the images "
            "into another directory"
        )
    return labels


@tf.autograph.experimental.do_not_convert
def _data(record):
    return record.data


@functools.cache
def _labels_of(paths: tuple, _status: tuple) -> Labels:
    """Returns the labels; size and time of the files are only part of the cache's key."""
    values, per_record, per_shard = [], [], []
    key = {LABEL_KEY: tf.io.RaggedFeature(tf.int64)}
    for path in paths:
        records = records_in_order(plain_reader, [path]).map(_data)
        count = 0
        for batch in records.batch(_RECORDS_AT_ONCE):
            labels = tf.io.parse_example(batch, key)[LABEL_KEY]
            values.append(labels.values.numpy() - 1)
            per_record.append(labels.row_lengths().numpy())
            count += len(per_record[-1])
        per_shard.append(count)
    nothing = np.zeros(0, np.int64)
    return Labels(
        np.concatenate([nothing, *values]),
        np.concatenate([nothing, *per_record]),
        np.array(per_shard, np.int64),
    )
