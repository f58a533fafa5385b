"""Stages of the input pipeline on their own, for `benchmarks.pipeline`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmark_cnn.distribution.batches import without_autotune
from benchmark_cnn.params.data_params import DataParams
from benchmarks.pipelines.pillow_loader import View
from common.process import num_cores
from preprocessing.images.crops import eval_window, train_crop, vgg_resized_shape
from preprocessing.images.decoding import WindowChooser, decode_window, whole_image
from preprocessing.images.views import random_view, train_image, train_window
from preprocessing.randomness import example_seed
from preprocessing.record_dataset import RecordDataset, map_in_order, prefetched
from preprocessing.records.examples import IMAGE_KEY, Example, parse_example
from preprocessing.records.stream import PlacedRecord

SEED = 1
SAMPLE_SIZE = 1024

Stage = Callable[[PlacedRecord], Any]
"""From a record to what the pipeline has made of it after the stage."""


def all_records(dataset: RecordDataset, *, evaluate: bool) -> tf.data.Dataset:
    """Reads the endless `PlacedRecord`s of a split as a run does."""
    if not evaluate:
        return dataset.train_records(seed=SEED)
    records = dataset.eval_records().enumerate()
    epoch = tf.constant(0, tf.int64)
    return records.map(lambda position, record: PlacedRecord(record, epoch, position)).repeat()


def in_memory(records: tf.data.Dataset) -> tf.data.Dataset:
    """Reads the first records once and repeats them: no disk, the same for all candidates."""
    sample = without_autotune(records.batch(SAMPLE_SIZE).take(1)).get_single_element()
    return tf.data.Dataset.from_tensor_slices(sample).repeat()


def batched(
    records: tf.data.Dataset, stage: Stage, batch_size: int, num_data_threads: int | None
) -> tf.data.Dataset:
    """Maps records through a stage and batches them as `RecordDataset` does."""
    results = map_in_order(records, stage, num_data_threads)
    return prefetched(results.batch(batch_size, drop_remainder=True), num_data_threads)


def _seed(placed: PlacedRecord) -> tf.Tensor:
    return example_seed(SEED, 0, placed.epoch, placed.position)


def read(placed: PlacedRecord) -> tf.Tensor:
    """Returns the number of bytes that were read."""
    return tf.strings.length(placed.record.data)


def decode_whole(num_classes: int) -> Stage:
    """Returns a stage that decodes the whole image and returns its shape."""

    def stage(placed: PlacedRecord) -> tf.Tensor:
        return tf.shape(
            decode_window(parse_example(placed.record, num_classes).encoded, whole_image)
        )

    return stage


def minimal(
    paths: Sequence[Path], batch_size: int, image_size: int, num_data_threads: int | None
) -> tf.data.Dataset:
    """Decodes, crops, resizes and batches the images of TFRecords, and does nothing else.

    It shuffles, checks and flips nothing, and has neither labels nor a place to begin at: what
    TensorFlow itself needs for random crops.
    """
    choose = train_crop(DataParams(), image_size)

    def view(number: tf.Tensor, record: tf.Tensor) -> tf.Tensor:
        keys = {IMAGE_KEY: tf.io.FixedLenFeature([], tf.string)}
        encoded = tf.io.parse_single_example(record, keys)[IMAGE_KEY]
        seed = tf.stack([tf.constant(SEED, tf.int64), number])
        pixels = decode_window(encoded, lambda h, w: choose(h, w, tf.zeros([0, 4]), seed))
        resized = tf.raw_ops.ResizeBilinear(
            images=tf.cast(pixels[tf.newaxis], tf.float32), size=[image_size, image_size]
        )
        return tf.cast(resized[0], tf.uint8)

    records = tf.data.TFRecordDataset([str(path) for path in paths]).repeat().enumerate()
    views = map_in_order(records, view, num_data_threads)
    return prefetched(views.batch(batch_size, drop_remainder=True), num_data_threads)


def cumulative_stages(
    dataset: RecordDataset, image_size: int, *, evaluate: bool
) -> dict[str, Stage]:
    """Returns the stages of an image, each with all before it, by the name of what it adds.

    The last returns the image; the others return a few bytes, so that batching costs nothing.
    """
    data = dataset.data

    def parse(placed: PlacedRecord) -> Example:
        return parse_example(placed.record, dataset.num_classes)

    def decode(placed: PlacedRecord) -> tf.Tensor:
        example = parse(placed)
        choose = window_of(data, image_size, example.boxes, _seed(placed), evaluate=evaluate)
        return tf.shape(decode_window(example.encoded, choose))

    def crop_and_resize(placed: PlacedRecord) -> tf.Tensor:
        view = random_view(data, parse(placed), image_size, _seed(placed), placed.position)
        return view[0, 0, 0]

    def image(placed: PlacedRecord) -> tf.Tensor:
        if evaluate:
            return dataset.eval_image(parse(placed), image_size, placed.position)
        return dataset.train_image(parse(placed), image_size, _seed(placed), placed.position)

    stages: dict[str, Stage] = {
        "hand over": lambda placed: placed.position,
        "parse": lambda placed: parse(placed).label,
    }
    last = "crop, resize"
    if has_imagenet_views(dataset):
        stages["decode"] = decode
        if not evaluate:
            stages[last] = crop_and_resize
            last = "flip, augment"
    stages[last] = lambda placed: image(placed)[0, 0, 0]
    stages["batch"] = image
    return stages


def has_imagenet_views(dataset: RecordDataset) -> bool:
    """Returns whether the flags of ImageNet's views have an effect on a data set."""
    view = dataset.train_image
    return isinstance(view, functools.partial) and view.func is train_image


def window_of(
    data: DataParams, image_size: int, boxes: tf.Tensor, seed: tf.Tensor, *, evaluate: bool
) -> WindowChooser:
    """Returns how the pipeline chooses the part of an image that it decodes."""
    if evaluate:
        return lambda height, width: eval_window(
            data.eval_method, height, width, image_size, data.eval_crop_fraction
        )
    return train_window(data, boxes, image_size, seed)


def baseline_views(
    data: DataParams, sample: tf.data.Dataset, image_size: int, *, evaluate: bool
) -> list[View]:
    """Returns the views that the pipeline takes of a sample, for Pillow to make."""

    def plan(placed: PlacedRecord) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        example = parse_example(placed.record, tf.int64.max)
        seed = _seed(placed)
        choose = window_of(data, image_size, example.boxes, seed, evaluate=evaluate)
        shape = tf.shape(decode_window(example.encoded, whole_image))
        window = choose(shape[0], shape[1])
        size = tf.constant([image_size, image_size])
        if evaluate and data.eval_method == "vgg":
            size = tf.stack(vgg_resized_shape(window[2], window[3], image_size))
        return example.encoded, window, size

    planned = without_autotune(sample.take(SAMPLE_SIZE).map(plan, num_parallel_calls=num_cores()))
    return [
        View(
            encoded, tuple(window.tolist()), tuple(size.tolist()), not evaluate and number % 2 == 0
        )
        for number, (encoded, window, size) in enumerate(planned.as_numpy_iterator())
    ]
