"""`--recompute`: the results of a step that keeps everything, in less memory."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.objective.losses import CROSS_ENTROPY
from common.errors import UsageError
from models import registry
from models.cost import activation_bytes
from models.forms.recompute import _divide
from tests.benchmark_cnn.engine import EVERYTHING, run_steps
from tests.benchmark_cnn.networks import ArrayData, random_examples
from tests.models import small_network

ROOT = Path(__file__).resolve().parents[3]


def step(network, images, labels, *, xla=False, frozen=frozenset()):
    """Loss, gradients and statistics of one training step; the masks are those of a fixed seed."""
    trained = [network.variables[name] for name in network.trainable if name not in frozen]

    @tf.function(autograph=False, jit_compile=xla)
    def compute():
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            result = network(images, training=True, seed=tf.constant([3, 4]), frozen=frozen)
            loss = tf.add_n(CROSS_ENTROPY(result, labels))
        return loss, tape.gradient(loss, trained), result.statistics

    return tf.nest.map_structure(lambda tensor: tensor.numpy(), compute())


def examples(count, size, classes=4):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    return tf.constant(images), tf.constant(random.integers(0, classes, count), tf.int32)


def assert_same(got, expected):
    tf.nest.assert_same_structure(got, expected)
    for mine, theirs in zip(tf.nest.flatten(got), tf.nest.flatten(expected), strict=True):
        scale = float(np.abs(theirs).max())
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize(
    "options",
    [{}, {"xla": True}, {"frozen": "head"}, {"auxiliary": True}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_a_step_has_the_same_result(options):
    """With dropout, stochastic depth and batch norm, of which a part may be frozen."""
    options = dict(options)
    network = small_network.build(auxiliary=options.pop("auxiliary", False))
    if options.pop("frozen", None):
        options["frozen"] = frozenset(n for n in network.variables if "/stem/" in n)
    batch = examples(6, 8)
    expected = step(network, *batch, **options)
    assert_same(step(network.recomputing(), *batch, **options), expected)


def test_masks_differ_between_seeds_and_answers_are_not_recomputed():
    network = small_network.build().recomputing()
    images, _ = examples(6, 8)
    logits = [
        network(images, training=training, seed=tf.constant([1, seed])).logits.numpy()
        for training, seed in ((True, 1), (True, 2), (False, 1), (False, 2))
    ]
    assert not np.allclose(logits[0], logits[1])
    np.testing.assert_array_equal(logits[2], logits[3])


@pytest.mark.parametrize("towers", [1, 2])
def test_training_equals_training_that_keeps_everything(towers):
    """Three steps with clip and moving averages, and one batch norm for both towers."""
    data = ArrayData(*random_examples(48, num_classes=4), num_classes=4)
    flags = {**EVERYTHING, "num_gpus": towers, "steps": 3, "global_batch": 16}

    def build():
        return small_network.build(sync_batch_norm=True)

    expected = run_steps(build, data, **flags)
    got = run_steps(lambda: build().recomputing(), data, **flags)
    assert_same(got, expected)


@pytest.mark.parametrize(("name", "most"), [("resnet20", 0.65), ("efficientnet_lite0", 0.45)])
def test_less_is_kept(name, most):
    network = registry.get(name).build(num_classes=10, image_size=32)
    assert activation_bytes(network.recomputing(), 32) < most * activation_bytes(network, 32)


def test_parts_are_the_best_division():
    """Against all divisions of the small network, in bytes that are kept or computed at a time."""
    parts, _ = _divide(small_network.build().keras_model)
    nodes = [node for part in parts[1:] for node in part.nodes]

    def cost(borders):
        computed, handed = [], 0
        for begin, end in itertools.pairwise(borders):
            made = [tensor for node in nodes[begin:end] for tensor in node.outputs]
            later = {id(tensor) for node in nodes[end:] for tensor in node.input_tensors}
            computed.append(sum(map(num_bytes, made)))
            is_last = end == len(nodes)
            handed += sum(
                num_bytes(t) for t in made if id(t) in later or (is_last and t is made[-1])
            )
        return handed + max(computed)

    def num_bytes(tensor):
        return int(np.prod(tensor.shape[1:])) * 4

    sizes = [len(part.nodes) for part in parts[1:]]
    chosen = cost([0, *itertools.accumulate(sizes)])
    places = range(1, len(nodes))
    divisions = itertools.chain.from_iterable(
        itertools.combinations(places, count) for count in range(len(nodes))
    )
    assert chosen == min(cost([0, *division, len(nodes)]) for division in divisions)


def test_a_network_without_parts():
    network = registry.get("vgg_a").build(num_classes=10, image_size=224)
    with pytest.raises(UsageError, match="vgg_a, a network of TF-Slim, has no parts: leave"):
        network.recomputing()


def test_a_part_has_its_gradients_before_earlier_parts_run_again():
    """Gradients of filters that wait keep the activations of many parts at once."""
    network = registry.get("resnet20").build(num_classes=10, image_size=32).recomputing()
    weights = [network.variables[name] for name in network.trainable]

    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(images, training=True, seed=tf.constant([1, 2])).logits)
        return tape.gradient(loss, weights)

    images = tf.TensorSpec([2, 32, 32, 3], tf.uint8)
    graph = tf.function(step, autograph=False).get_concrete_function(images).graph
    operations = graph.get_operations()
    awaited = {before for operation in operations for before in operation.control_inputs}
    filters = [op for op in operations if op.type == "Conv2DBackpropFilter"]
    late = [op.name for op in filters if op not in awaited]
    assert len(filters) == 19
    # The last part, which is kept and not run again.
    assert all(name.startswith("gradient_tape/stage3.") for name in late), late


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch_size", "most"), [("resnet50", 16, 0.75), ("efficientnet_lite0", 48, 0.7)]
)
def test_a_training_process_takes_less_memory(name, batch_size, most):
    peaks = []
    for flags in ([], ["--recompute"]):
        command = [sys.executable, "-m", "tests.models.peak_memory", name, str(batch_size)]
        command += flags
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(result.stdout))
    assert peaks[1] < most * peaks[0], peaks
