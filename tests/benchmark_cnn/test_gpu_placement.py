"""On a GPU the steps have kernels for everything, and never wait for what it computes."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn import training_setup
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.step.step_loop import make_step_loop
from models import registry
from models.layers import target
from preprocessing.augmentation.batch_augmentation import BatchAugmentation
from preprocessing.registry import open_dataset
from tests.benchmark_cnn import gpu_kernels
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples

# The second tower: what is on the first CPU device is the host's.
_TOWER = "CPU:1"
_SIZE = 8


def _batch(size):
    images, labels = np.zeros((4, size, size, 3), np.uint8), np.zeros(4, np.int32)
    return tf.constant(images), tf.constant(labels)


def _run(spec, dataset, **flags):
    """A run of two towers that are treated as GPUs."""
    params = make_params(device="cpu", num_gpus=2, batch_size=4, learning_rate=0.1, **flags)
    run = training_setup.set_up(params, spec, dataset)
    run.manager.shares_memory = False
    return run


def _values(run, *tensors):
    """Per-tower values, each on its device."""
    devices = run.manager.strategy.extended.worker_devices

    def on_tower(tensor, context):
        with tf.device(devices[context.replica_id_in_sync_group]):
            return tf.identity(tensor)

    distribute = run.manager.strategy.experimental_distribute_values_from_function
    return tuple(distribute(functools.partial(on_tower, tensor)) for tensor in tensors)


def _training_graph(run, step):
    batch = _values(run, *_batch(run.settings.image_size))
    loop = make_step_loop(step, iter([batch] * 20), run.plan.micro_batches)
    with tf.device("/device:CPU:0"):
        flags = tf.constant(True), tf.constant(False)
    with target.assume_gpu():
        return loop._single.get_concrete_function(*flags).graph


def _assert_stays_on_gpus(graph):
    found = gpu_kernels.examine(graph, _TOWER)
    assert found.missing == set()
    # Towers on CPUs add their gradients on the host; on GPUs NCCL does.
    assert [copy for copy in found.copies if copy.reader_type != "AddN"] == []
    assert found.copies


@pytest.mark.parametrize(
    "flags",
    [
        {"optimizer": "momentum", "gradient_clip": 1.0, "moving_average_decay": 0.9},
        {"optimizer": "rmsprop", "gradient_accumulation_steps": 2},
        {"optimizer": "adamw", "label_smoothing": 0.1},
    ],
    ids=lambda flags: flags["optimizer"],
)
def test_a_training_step(flags):
    network = functools.partial(ConvNetwork, batch_norm="tower", dropout=0.5, auxiliary=True)
    run = _run(Spec(network), ArrayData(*random_examples(40)), **flags)
    augment = BatchAugmentation(DataParams(mixup_alpha=0.2, cutmix_alpha=1.0, random_erasing=0.5))
    tower = dataclasses.replace(run.step.tower, augment=augment)
    _assert_stays_on_gpus(
        _training_graph(run, dataclasses.replace(run.step, tower=tower, inlined=True))
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "flags"),
    [
        ("efficientnet_lite0", {"dtype": "bfloat16"}),
        ("efficientnet_lite0", {}),
        ("resnet50", {"dtype": "bfloat16"}),
        ("inception_v3", {}),
    ],
)
def test_the_training_steps_of_networks(network, flags):
    run = _run(registry.get(network), open_dataset(DataParams()), **flags)
    _assert_stays_on_gpus(_training_graph(run, dataclasses.replace(run.step, inlined=True)))


@pytest.mark.parametrize("loss", ["softmax", "bce", "focal"])
def test_an_evaluation(loss):
    """Its losses are float64, of which TensorFlow's fused kernel knows nothing on GPUs."""
    run = _run(Spec(ConvNetwork), ArrayData(*random_examples(40)), loss=loss)
    evaluator = run.evaluator
    evaluator._take_weights()
    batch = _values(run, *_batch(_SIZE), tf.ones([4], tf.bool))
    graph = evaluator._step.get_concrete_function(False, *batch).graph
    found = gpu_kernels.examine(graph, _TOWER)
    assert found.missing == set()
    assert {copy.reader_type for copy in found.copies} <= {"AddV2"}  # of the towers' counts
    assert found.copies


def test_what_waits_for_a_gpu_is_found():
    """int32 is compared on the host, float64 has no fused cross entropy, and ranges begin there."""

    @tf.function(autograph=False)
    def step(logits, labels):
        with tf.device("/device:CPU:1"):
            above = tf.range(10) < labels[0]
            seed = tf.cast(logits[0, :2] * 7, tf.int32)
            drawn = tf.random.stateless_uniform([2], seed)
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), above, drawn

    graph = step.get_concrete_function(
        tf.TensorSpec([2, 10], tf.float64), tf.TensorSpec([2], tf.int32)
    ).graph
    found = gpu_kernels.examine(graph, _TOWER)
    kind = "SparseSoftmaxCrossEntropyWithLogits"
    assert found.missing == {(kind, "float64")}
    readers = {copy.reader_type for copy in found.copies}
    assert "StatelessRandomGetKeyCounter" in readers
