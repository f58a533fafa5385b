"""A kernel's failure is not called damaged data: both have the same classes of errors."""

from __future__ import annotations

import pytest
import tensorflow as tf

from benchmark_cnn import training
from benchmark_cnn.params.validation import make_params
from common.errors import DataError, RunError
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples


class FailingNetwork(ConvNetwork):
    """A kernel of it gets a shape that it cannot have, which shows when it runs."""

    def __call__(self, images, **options):
        result = super().__call__(images, **options)
        one_more = tf.size(result.logits) + tf.cast(tf.reduce_sum(result.logits) < 1e9, tf.int32)
        numbers = tf.cast(tf.range(one_more), tf.float32)
        return result._replace(logits=result.logits + tf.reshape(numbers, tf.shape(result.logits)))


class ExplainedData(ArrayData):
    def explain(self, error, subset):
        return DataError(f"explained by the data set, {subset}")


class DamagedData(ExplainedData):
    def train_batches(self, **options):
        def fail(images, labels):
            one_more = tf.size(labels) + tf.cast(tf.reduce_sum(labels) > -1, tf.int32)
            return images, tf.reshape(tf.range(one_more), tf.shape(labels))

        return super().train_batches(**options).map(fail)


class RejectedData(ExplainedData):
    def train_batches(self, **options):
        def fail(images, labels):
            check = tf.raw_ops.Assert(condition=tf.reduce_sum(labels) < 0, data=["bad record"])
            with tf.control_dependencies([check]):
                return images, tf.identity(labels)

        return super().train_batches(**options).map(fail, num_parallel_calls=2)


def train(network, data, num_gpus):
    params = make_params(
        device="cpu", num_gpus=num_gpus, batch_size=4, num_batches=2, learning_rate=0.1
    )
    training.train(params, Spec(network), data)


@pytest.mark.parametrize("num_gpus", [1, 2])
def test_a_kernel_is_named_and_the_data_not_blamed(num_gpus):
    with pytest.raises(RunError) as caught:
        train(FailingNetwork, ExplainedData(*random_examples(16)), num_gpus)
    assert type(caught.value) is RunError
    line = str(caught.value)
    assert "Reshape" in line
    assert "not while reading data" in line
    assert "\n" not in line


@pytest.mark.parametrize("num_gpus", [1, 2])
@pytest.mark.parametrize("data", [DamagedData, RejectedData])
def test_the_data_set_explains_what_its_pipeline_raises(data, num_gpus):
    with pytest.raises(DataError, match="explained by the data set, train"):
        train(ConvNetwork, data(*random_examples(16)), num_gpus)
