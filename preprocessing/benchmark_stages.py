"""Parts of the input pipeline on their own, for `preprocessing.benchmark`."""

from __future__ import annotations

import tensorflow as tf

from preprocessing.examples import parse_example
from preprocessing.image_decoding import decode_window, whole_image
from preprocessing.record_stream import Record

_SAMPLE_SIZE = 1024


def record_sizes(records: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Read records and do nothing with them but count their bytes: int32 [batch_size]."""
    sizes = records.map(lambda record: tf.strings.length(record.data))
    return sizes.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def decoded_shapes(records: tf.data.Dataset, num_classes: int, batch_size: int) -> tf.data.Dataset:
    """Decode whole images of a sample that is kept in memory: their shapes, [batch_size, 3]."""

    def decode(record: Record) -> tf.Tensor:
        return tf.shape(decode_window(parse_example(record, num_classes).encoded, whole_image))

    sample = records.take(_SAMPLE_SIZE).cache().repeat()
    shapes = sample.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return shapes.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
