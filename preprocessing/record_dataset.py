"""A data set in TFRecord shards: the endless training stream and the exact evaluation pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmark_cnn.distribution.batches import without_autotune
from benchmark_cnn.interfaces import DataDescription
from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError
from common.process import num_cores
from download_and_convert_imagenet.records import manifest
from preprocessing.augmentation.batch_augmentation import BatchAugmentation
from preprocessing.images.tta import views
from preprocessing.integrity.diagnosis import explain
from preprocessing.integrity.skip_damaged import skipping_reader
from preprocessing.randomness import example_seed
from preprocessing.records.balance import Balance, size_of_epoch
from preprocessing.records.counts import examples_per_shard, num_examples
from preprocessing.records.examples import Example, parse_example
from preprocessing.records.labels import Labels, labels_of
from preprocessing.records.shards import ShardSet, find_shards
from preprocessing.records.split_check import check_first_records
from preprocessing.records.stream import (
    PlacedRecord,
    Record,
    Repetition,
    ShardReader,
    counting_reader,
    plain_reader,
    records_in_order,
    shuffled_records,
)

# What datasets_repeat_cached_sample keeps in memory: enough for the mean image size to be typical.
_NUM_CACHED_EXAMPLES = 1024
# One is ready while the other is taken; the engine prefetches more, by its number of towers.
PREFETCHED_BATCHES = 2

TrainImage = Callable[[Example, int, tf.Tensor, tf.Tensor], tf.Tensor]
"""From (example, image size, seed int64 [2], position) to [image_size, image_size, 3]."""
EvalImage = Callable[[Example, int, tf.Tensor], tf.Tensor]
"""From (example, image size, position) to [image_size, image_size, 3], or several, [V, ...]."""


@dataclass(frozen=True)
class RecordDataset:
    """A `benchmark_cnn.interfaces.Dataset` over the shards in a directory."""

    name: str
    num_classes: int
    data_dir: Path
    train_image: TrainImage
    eval_image: EvalImage
    data: DataParams
    synthetic: bool = False
    multi_label: bool = False
    batch_augmentation: BatchAugmentation | None = None

    def describe(self) -> DataDescription:
        """Describes the data set by its manifest; see `Dataset.describe`."""
        listed = manifest.read_manifest(self.data_dir)
        if listed is None:
            return DataDescription(self.name)
        content = (self.data_dir / manifest.FILE_NAME).read_bytes()
        return DataDescription(
            listed.name,
            listed.class_names,
            {split: listed.num_examples(split) for split in listed.splits},
            hashlib.sha256(content).hexdigest(),
        )

    def num_examples(self, subset: str) -> int:
        """Returns the number of examples of a subset; see `Dataset.num_examples`."""
        return num_examples(self._shards(subset))

    def examples_per_epoch(self, subset: str) -> int:
        """Returns the length of an epoch of training; see `Dataset.examples_per_epoch`."""
        if not self.data.balanced_sampling:
            return self.num_examples(subset)
        return size_of_epoch(self.class_counts(subset))[1]

    def class_counts(self, subset: str) -> np.ndarray:
        """Counts the examples of each class; see `Dataset.class_counts`."""
        labels = self._labels(subset)
        return np.bincount(labels.values, minlength=self.num_classes)

    def train_batches(
        self,
        *,
        batch_size: int,
        image_size: int,
        seed: int,
        start_example: int = 0,
        shard: tuple[int, int] = (0, 1),
        subset: str = "train",
    ) -> tf.data.Dataset:
        """Returns the endless training stream; see `Dataset.train_batches`."""

        def to_image(placed: PlacedRecord) -> tuple[tf.Tensor, tf.Tensor]:
            example = parse_example(placed.record, self.num_classes, self.multi_label)
            own_seed = example_seed(seed, shard[0], placed.epoch, placed.position)
            return self.train_image(example, image_size, own_seed, placed.position), example.label

        records = self.train_records(
            seed=seed, start_example=start_example, shard=shard, subset=subset
        )
        num_threads = self.data.num_data_threads
        examples = map_in_order(records, to_image, num_threads)
        return prefetched(examples.batch(batch_size, drop_remainder=True), num_threads)

    def eval_batches(
        self,
        *,
        batch_size: int,
        image_size: int,
        subset: str = "validation",
        shard: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Returns every example once; see `Dataset.eval_batches`."""

        def to_image(position: tf.Tensor, record: Record) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            example = parse_example(record, self.num_classes, self.multi_label)
            image = self.eval_image(example, image_size, position)
            return image, example.label, record.is_real

        index, count = shard
        records = self.eval_records(subset).enumerate().shard(count, index)
        examples = map_in_order(records, to_image, self.data.num_data_threads)
        return prefetched(_padded_batches(examples, batch_size), self.data.num_data_threads)

    def with_views(self, tta: str) -> RecordDataset:
        """Returns the data set with the views of `--tta` of each image in evaluations."""

        def eval_views(example: Example, image_size: int, position: tf.Tensor) -> tf.Tensor:
            def own(encoded: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
                return self.eval_image(example._replace(encoded=encoded), image_size, position)

            return views(tta, image_size, own)(example.encoded, position)

        return replace(self, eval_image=eval_views)

    def train_records(
        self,
        *,
        seed: int,
        start_example: int = 0,
        shard: tuple[int, int] = (0, 1),
        subset: str = "train",
    ) -> tf.data.Dataset:
        """Returns the `PlacedRecord`s of `train_batches`, not yet decoded."""
        shards = self._shards(subset)
        paths = _share_of(shards, shard)
        check_first_records(shards, paths)
        balance = self._balance(shards, seed)
        epoch, position = 0, 0
        if balance is not None:
            epoch, position = balance.place(paths, start_example)
        elif start_example:
            counts = examples_per_shard(shards, paths)
            epoch, position = divmod(start_example, sum(counts))
        records = shuffled_records(
            self._reader(shards),
            paths,
            seed=seed,
            shuffle_buffer=self.data.shuffle_buffer,
            start_epoch=epoch,
            start_position=position,
            drawing=balance,
            repetition=self._repetition(shards, paths),
        )
        if self.data.datasets_repeat_cached_sample:
            records = records.take(_NUM_CACHED_EXAMPLES).cache().repeat()
        return records

    def records_of(
        self, *, start_example: int, count: int, seed: int, subset: str = "train"
    ) -> list[tuple[str, int]]:
        """Names the examples of a part of the stream; see `Dataset.records_of`."""
        shards = self._shards(subset)
        if shards.tolerant or self.data.datasets_repeat_cached_sample:
            return []
        counts = examples_per_shard(shards, shards.paths)
        balance = self._balance(shards, seed)
        epoch_size = sum(counts) if balance is None else balance.epoch_size
        epoch, position = divmod(start_example, epoch_size)
        records = shuffled_records(
            counting_reader(shards.paths, counts),
            shards.paths,
            seed=seed,
            shuffle_buffer=self.data.shuffle_buffer,
            start_epoch=epoch,
            start_position=position,
            drawing=balance,
            repetition=self._repetition(shards, shards.paths),
        ).take(count)
        places = ((placed.record.file, placed.record.index) for placed in records)
        return [(file.numpy().decode(), int(index)) for file, index in places]

    def eval_records(self, subset: str = "validation") -> tf.data.Dataset:
        """Returns the `Record`s of `eval_batches`, not yet decoded."""
        shards = self._shards(subset)
        check_first_records(shards, shards.paths)
        return records_in_order(self._reader(shards), shards.paths)

    def explain(self, error: tf.errors.OpError, subset: str) -> DataError:
        """Explains an error of an iterator in one line; see `Dataset.explain`."""
        return explain(error, self.data_dir, subset, self.num_classes)

    def _shards(self, subset: str) -> ShardSet:
        return find_shards(self.data_dir, subset, max_corrupt_records=self.data.max_corrupt_records)

    def _balance(self, shards: ShardSet, seed: int) -> Balance | None:
        if not self.data.balanced_sampling:
            return None
        return Balance.of(shards.paths, self._labels(shards.subset), seed)

    def _repetition(self, shards: ShardSet, paths: Sequence[Path]) -> Repetition | None:
        copies = self.data.augmentation_repeats
        if copies == 1:
            return None
        if len(paths) == len(shards.paths):
            return Repetition(copies, num_examples(shards))
        return Repetition(copies, sum(examples_per_shard(shards, paths)))

    def _labels(self, subset: str) -> Labels:
        try:
            return labels_of(self._shards(subset), self.num_classes)
        except tf.errors.OpError as error:
            raise self.explain(error, subset) from error

    def _reader(self, shards: ShardSet) -> ShardReader:
        return skipping_reader(shards, self.num_classes) if shards.tolerant else plain_reader


def map_in_order(
    examples: tf.data.Dataset, function: Callable, num_data_threads: int | None
) -> tf.data.Dataset:
    """Maps the examples, several in parallel and each on one thread, and keeps their order."""
    num_calls = num_data_threads or num_cores()
    # The functions of this project are graphs as they are: to look for Python's `if` and `for` in
    # them took AutoGraph 1.3 s of a core at each start.
    function = tf.autograph.experimental.do_not_convert(function)
    return examples.map(function, num_parallel_calls=num_calls, deterministic=True)


def prefetched(batches: tf.data.Dataset, num_data_threads: int | None) -> tf.data.Dataset:
    """Prefetches batches: in order, one thread per image, without autotuning."""
    options = tf.data.Options()
    options.deterministic = True
    # A distribution strategy would split the files by its own rule and change the order.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # As many images as cores are processed at a time: more threads per image would only cost.
    options.threading.max_intra_op_parallelism = 1
    if num_data_threads:
        options.threading.private_threadpool_size = num_data_threads
    return without_autotune(batches.prefetch(PREFETCHED_BATCHES)).with_options(options)


def _share_of(shards: ShardSet, shard: tuple[int, int]) -> tuple[Path, ...]:
    """Returns the files of one worker: every count-th, so that no file belongs to two workers."""
    index, count = shard
    if len(shards.paths) < count:
        raise DataError(
            f"{shards.directory} has {len(shards.paths)} {shards.subset} shards, too few for "
            f"{count} workers: convert it to more shards"
        )
    return shards.paths[index::count]


def _padded_batches(examples: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Batches the examples, followed by empty ones, so that the last batch is full, too."""
    empty = [tf.zeros(spec.shape, spec.dtype) for spec in tf.nest.flatten(examples.element_spec)]
    padding = tf.data.Dataset.from_tensors(tuple(empty)).repeat(batch_size - 1)
    return examples.concatenate(padding).batch(batch_size, drop_remainder=True)
