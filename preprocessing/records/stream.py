"""The order of records: a pure function of (seed, epoch), on any machine and from any position."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

# Part of the definition of the order: other values give another order.
_NUM_FILES_AT_ONCE = 16
_RECORDS_PER_TURN = 4
_READ_BUFFER_BYTES = 4 << 20


class Record(NamedTuple):
    """One serialized tf.train.Example and where it comes from."""

    data: tf.Tensor  # string scalar
    file: tf.Tensor  # string scalar: the shard's path for messages, as valid UTF-8
    index: tf.Tensor  # int64 scalar: which record of the file, from 0
    is_real: tf.Tensor  # bool scalar: false where it stands in for a damaged record


class PlacedRecord(NamedTuple):
    """A record at its place in the stream."""

    record: Record
    epoch: tf.Tensor  # int64 scalar
    position: tf.Tensor  # int64 scalar: its place in the epoch, from 0


ShardReader = Callable[[tf.Tensor], tf.data.Dataset]
"""From the path of a shard, a string scalar, to the dataset of its `Record`s."""


class Repetition(NamedTuple):
    """Each record in several copies, one after the other.

    Attributes:
        copies: of each record.
        epoch_size: examples of an epoch, which begins with the first records of its order and ends
            when it has so many: the other records are not drawn in it.
    """

    copies: int
    epoch_size: int


class Drawing(Protocol):
    """How often each epoch draws each record."""

    def reader(self, read: ShardReader, epoch: tf.Tensor) -> ShardReader:
        """Returns a reader that yields each `Record` of `read` as often as `epoch` draws it."""
        ...


def shuffled_records(
    read: ShardReader,
    paths: Sequence[Path],
    *,
    seed: int,
    shuffle_buffer: int,
    start_epoch: int = 0,
    start_position: int = 0,
    drawing: Drawing | None = None,
    repetition: Repetition | None = None,
) -> tf.data.Dataset:
    """Reads the endless stream of `PlacedRecord`s, every epoch in its own order.

    Records before `start_position` are read, because the shuffle buffer needs them, and dropped.

    Args:
        drawing: how often an epoch draws each record; None for once.
        repetition: None for one copy of each.
    """
    names = names_of(paths)

    @tf.autograph.experimental.do_not_convert
    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        keys = tf.random.stateless_uniform([len(paths)], tf.stack([seed, epoch]), alg="philox")
        files = tf.data.Dataset.from_tensor_slices(tf.gather(names, tf.argsort(keys, stable=True)))
        records = files.interleave(
            read if drawing is None else drawing.reader(read, epoch),
            cycle_length=_NUM_FILES_AT_ONCE,
            block_length=_RECORDS_PER_TURN,
            num_parallel_calls=_NUM_FILES_AT_ONCE,
            deterministic=True,
        )
        shuffled = _shuffle(records, shuffle_buffer, seed, epoch)
        skipped = tf.where(epoch == start_epoch, tf.constant(start_position, tf.int64), 0)
        positions = tf.data.Dataset.range(skipped, tf.int64.max)
        rest = _repeated(shuffled, repetition, skipped) if repetition else shuffled.skip(skipped)
        parts: Any = PlacedRecord._make((rest, _always(epoch), positions))
        return tf.data.Dataset.zip(parts)

    return tf.data.Dataset.range(start_epoch, tf.int64.max).flat_map(one_epoch)


def records_in_order(read: ShardReader, paths: Sequence[Path]) -> tf.data.Dataset:
    """Reads every `Record` once, file by file: the order of an evaluation."""
    files = tf.data.Dataset.from_tensor_slices(names_of(paths))
    return files.flat_map(tf.autograph.experimental.do_not_convert(read))


def plain_reader(path: tf.Tensor) -> tf.data.Dataset:
    """Reads the `Record`s of a shard with TensorFlow's reader, which stops at a damaged one."""
    data = tf.data.TFRecordDataset(path, buffer_size=_READ_BUFFER_BYTES)
    indices = tf.data.Dataset.range(tf.int64.max)
    # A zip costs a fifth of what a map does, and every record of a run passes through here.
    parts: Any = Record._make((data, _always(printable(path)), indices, _always(True)))
    return tf.data.Dataset.zip(parts)


def counting_reader(paths: Sequence[Path], counts: Sequence[int]) -> ShardReader:
    """Returns a reader that yields every `Record` without its data, and reads no file.

    Args:
        counts: number of records of each of `paths`.
    """
    names = names_of(paths)

    def read(path: tf.Tensor) -> tf.data.Dataset:
        count = tf.reduce_sum(tf.where(names == path, tf.constant(counts, tf.int64), 0))
        indices = tf.data.Dataset.range(count)
        parts: Any = Record._make((_always(""), _always(printable(path)), indices, _always(True)))
        return tf.data.Dataset.zip(parts)

    return read


def printable(path: tf.Tensor) -> tf.Tensor:
    """Replaces invalid UTF-8 in a path: Python cannot read a TensorFlow error that contains it."""
    return tf.strings.unicode_transcode(path, "UTF-8", "UTF-8", errors="replace")


def names_of(paths: Sequence[Path]) -> tf.Tensor:
    return tf.constant([os.fsencode(path) for path in paths], tf.string)


def _shuffle(
    records: tf.data.Dataset, buffer_size: int, seed: int, epoch: tf.Tensor
) -> tf.data.Dataset:
    """Shuffles by (seed, epoch) alone; `Dataset.shuffle` also uses TensorFlow's global seed."""
    spec = records.element_spec
    leaves = tf.nest.flatten(spec)
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=tf.constant(max(buffer_size, 1), tf.int64),
        seed=tf.constant(seed, tf.int64),
        seed2=epoch + 1,  # (0, 0) would ask for an arbitrary order
        output_types=[leaf.dtype for leaf in leaves],
        output_shapes=[leaf.shape for leaf in leaves],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, spec)


def _repeated(
    records: tf.data.Dataset, repetition: Repetition, skipped: tf.Tensor
) -> tf.data.Dataset:
    """Returns an epoch of repeated records, without the first `skipped` examples."""
    copies, epoch_size = repetition

    @tf.autograph.experimental.do_not_convert
    def in_copies(record: Record) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(record).repeat(copies)

    repeated = records.skip(skipped // copies).flat_map(in_copies)
    return repeated.skip(tf.math.floormod(skipped, copies)).take(epoch_size - skipped)


def _always(value: tf.Tensor | bool | str) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors(value).repeat()
