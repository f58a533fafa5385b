"""Deterministic runs: they work on a CPU, and what a GPU cannot do is refused before a step."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from benchmark_cnn import training_setup
from benchmark_cnn.distribution import determinism
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.step.step_loop import make_step_loop
from common.errors import UsageError
from models.forward_pass import forward_pass
from models.layers import target
from models.layers.batch_norm import FusedBatchNorm
from models.layers.depthwise_convolution import DepthwiseConvolution
from tests.benchmark_cnn.engine import run_steps
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples


@pytest.fixture
def deterministic():
    tf.config.experimental.enable_op_determinism()
    yield
    config.disable_op_determinism()


class PoolingNetwork(ConvNetwork):
    """Takes the maximum of windows by an operation without a deterministic gradient on GPUs."""

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        images = tf.cast(images, tf.float32)
        pooled, _ = tf.nn.max_pool_with_argmax(
            images * self.variables["dense/bias"][0], 2, 1, "SAME"
        )
        return super().__call__(images + pooled, training=training, seed=seed, frozen=frozen)


def gradients_graph(function, dtype=tf.float32):
    """The graph of a function's gradient with respect to images."""

    @tf.function(autograph=False)
    def gradients(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = function(images)
        return tape.gradient(outputs, [images, *tape.watched_variables()])

    return gradients.get_concrete_function(tf.TensorSpec([2, 8, 8, 4], dtype)).graph


def test_a_run_on_the_cpu_repeats_itself(deterministic):
    def run():
        network = functools.partial(ConvNetwork, batch_norm="tower", dropout=0.5)
        return run_steps(
            network, ArrayData(*random_examples(40)), steps=3, global_batch=8,
            num_gpus=2, deterministic=True,
        )  # fmt: skip

    (_, first), (_, second) = run(), run()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], name)


def test_our_layers_have_deterministic_gradients_on_gpus(deterministic):
    depthwise, batch_norm = DepthwiseConvolution(5, 2), FusedBatchNorm()
    batch_norm.build((None, 8, 8, 4))
    depthwise.build((None, 8, 8, 4))

    def frozen_norm(images):
        with forward_pass(None, frozenset([id(batch_norm.moving_mean)])):
            return batch_norm(images, training=True)

    for function in (lambda images: depthwise(images, training=True), frozen_norm):
        with pytest.raises(UsageError, match="--deterministic: TensorFlow has no deterministic"):
            determinism.check(gradients_graph(function))  # as it is computed on a CPU
        with target.assume_gpu():
            determinism.check(gradients_graph(function))
            determinism.check(gradients_graph(function, dtype=tf.bfloat16))


def test_operations_of_called_functions_are_found(deterministic):
    kernel = tf.Variable(tf.ones([3, 3, 4, 1]))

    def twice(images):
        return tf.while_loop(
            lambda count, _: count < 2,
            lambda count, x: (count + 1, tf.nn.depthwise_conv2d(x, kernel, [1] * 4, "SAME")),
            (0, images),
            maximum_iterations=2,
        )[1]

    outer = tf.function(twice, autograph=False, experimental_attributes={"_noinline": True})
    with pytest.raises(UsageError, match="DepthwiseConv2dNativeBackpropFilter on GPUs"):
        determinism.check(gradients_graph(outer))


def test_xla_has_fewer_deterministic_kernels(deterministic):
    def pool(images):
        return tf.nn.max_pool2d(images, 2, 2, "SAME")

    determinism.check(gradients_graph(pool))

    @tf.function(autograph=False)
    def step(images):
        @tf.function(jit_compile=True, autograph=False)
        def tower(images):
            with tf.GradientTape() as tape:
                tape.watch(images)
                outputs = pool(images)
            return tape.gradient(outputs, images)

        return tower(images)

    graph = step.get_concrete_function(tf.TensorSpec([2, 8, 8, 4])).graph
    with pytest.raises(UsageError, match="MaxPoolGrad on GPUs, compiled by XLA"):
        determinism.check(graph)


def test_a_step_on_gpus_is_refused_before_it_runs(deterministic):
    params = make_params(device="cpu", batch_size=4, deterministic=True)
    run = training_setup.set_up(params, Spec(PoolingNetwork), ArrayData(*random_examples(40)))
    run.manager.shares_memory = False  # as towers on GPUs
    batch = tuple(map(tf.constant, (np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int32))))
    loop = make_step_loop(run.step, iter([batch] * 4), 1)
    with pytest.raises(UsageError, match="MaxPoolGradWithArgmax on GPUs; leave it out"):
        loop(1, True)
    assert int(run.state.global_step) == 0
