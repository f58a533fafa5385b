"""Mixed labels in the loss, and the augmentation of batches inside the towers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.interfaces import MixedLabels
from benchmark_cnn.objective import losses
from benchmark_cnn.params.data_params import DataParams
from preprocessing.augmentation.batch_augmentation import BatchAugmentation
from tests.benchmark_cnn.engine import run_steps
from tests.benchmark_cnn.networks import (
    ArrayData,
    ConvNetwork,
    Output,
    Unprepared,
    random_examples,
)

CLASSES = 11
RATES = {"optimizer": "sgd", "learning_rate": 0.0625, "weight_decay": 0.0}


# The loss against targets [B, C] written out


@pytest.fixture
def mixture():
    """Logits, main and auxiliary, first and second labels, shares."""
    random = np.random.default_rng(7)
    logits, aux_logits = random.normal(0, 3, (2, 6, CLASSES))
    first, second = random.integers(0, CLASSES, (2, 6))
    return logits, aux_logits, first, second, np.array([0, 0.25, 0.5, 0.8125, 1, 0.3])


def soft_cross_entropy(logits, targets):
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -(targets * log_softmax).sum(1).mean()


def soft_targets(first, second, shares, smoothing):
    each = np.eye(CLASSES)
    mixed = shares[:, None] * each[first] + (1 - shares[:, None]) * each[second]
    return (1 - smoothing) * mixed + smoothing / CLASSES


def mixed_labels(first, second, shares):
    return MixedLabels(
        tf.constant(first, tf.int32), tf.constant(second, tf.int32), tf.constant(shares, tf.float32)
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_and_its_gradient_are_those_of_soft_targets(mixture, smoothing):
    logits, aux_logits, *labels = mixture
    targets = soft_targets(*labels, smoothing)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    tensor = tf.constant(logits, tf.float32)
    loss_of = losses.Loss(smoothing=smoothing)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        output = Output(tensor, tf.constant(aux_logits, tf.float32), {})
        loss, aux_loss = loss_of(output, mixed_labels(*labels))
    np.testing.assert_allclose(loss, soft_cross_entropy(logits, targets), rtol=1e-6)
    np.testing.assert_allclose(aux_loss, soft_cross_entropy(aux_logits, targets), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, tensor), (softmax - targets) / 6, atol=1e-7)


def test_a_share_of_one_is_the_plain_loss(mixture):
    logits, _, first, second, _ = mixture
    logits = tf.constant(logits, tf.float32)
    mixed = losses.cross_entropy(logits, mixed_labels(first, second, np.ones(6)), 0.1)
    plain = losses.cross_entropy(logits, tf.constant(first, tf.int32), 0.1)
    assert mixed.numpy() == plain.numpy()


# Whole steps


class Recorder:
    """A batch augmentation that lets what it was given and what it returns out of the graph."""

    def __init__(self, **options):
        self.augmentation, self.calls = BatchAugmentation(DataParams(**options)), []

    def __call__(self, images, labels, key):
        mixed, mixture = self.augmentation(images, labels, key)
        tensors = [key, images, labels, mixed, *mixture]
        written = tf.numpy_function(self._write, tensors, [])
        with tf.control_dependencies([written]):
            return tf.identity(mixed), mixture

    def _write(self, *arrays):
        self.calls.append(arrays)


def data(augmentation=None, count=48, **shape):
    dataset = ArrayData(*random_examples(count, **shape))
    dataset.batch_augmentation = augmentation
    return dataset


def train(augmentation=None, *, steps=3, network=ConvNetwork, **flags):
    return run_steps(
        network, data(augmentation), steps=steps, global_batch=16, **{**RATES, **flags}
    )


class LinearNetwork(Unprepared):
    """logits = mean color @ kernel, and nothing else."""

    name = "linear"
    background_class = False
    trainable = ("kernel",)
    decayed = frozenset()

    def __init__(self, classes=5):
        kernel = np.random.default_rng(3).normal(0, 0.02, (3, classes)).astype(np.float32)
        self.variables = {"kernel": tf.Variable(kernel)}

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        colors = tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])
        return Output(colors @ self.variables["kernel"], None, {})


class WithBackground(LinearNetwork):
    background_class = True

    def __init__(self):
        super().__init__(classes=6)


@pytest.mark.parametrize("network", [LinearNetwork, WithBackground])
def test_a_step_is_that_of_the_mixed_batch_in_numpy(network):
    """Loss, accuracy and the updated kernel, from the batches that the towers saw."""
    recorder = Recorder(mixup_alpha=1.0)
    reports, tensors = train(
        recorder, network=network, steps=1, num_gpus=2, label_smoothing=0.1, learning_rate=2.0**-14
    )
    kernel = network().variables["kernel"].numpy().astype(float)
    offset = int(network.background_class)
    batch_losses, gradients, right = [], [], []
    for _, images, labels, mixed, first, second, shares in recorder.calls:
        weights = shares[:, None, None, None].astype(float)
        np.testing.assert_allclose(
            mixed, weights * images + (1 - weights) * images[::-1], atol=1e-3
        )
        assert first.tolist() == labels.tolist()
        assert second.tolist() == labels[::-1].tolist()
        colors = mixed.astype(float).mean((1, 2))
        logits = colors @ kernel
        classes = np.eye(kernel.shape[1])
        target = shares[:, None] * classes[first] + (1 - shares[:, None]) * classes[second]
        target = 0.9 * target + 0.1 / kernel.shape[1]
        batch_losses.append(soft_cross_entropy(logits, target))
        softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        gradients.append(colors.T @ (softmax - target) / len(labels))
        right.append((logits.argmax(1) == first).mean())
        assert first.min() >= offset
    assert len(recorder.calls) == 2
    np.testing.assert_allclose(reports[0]["cross_entropy"], np.mean(batch_losses), rtol=1e-5)
    np.testing.assert_allclose(reports[0]["top_1"], np.mean(right), rtol=1e-6)
    expected = kernel - 2.0**-14 * np.mean(gradients, 0)
    np.testing.assert_allclose(tensors["kernel"], expected, rtol=1e-4, atol=1e-7)


EVERYTHING = {"random_erasing": 0.5, "mixup_alpha": 0.4, "cutmix_alpha": 1.0}


def test_every_tower_micro_batch_and_step_draws_its_own_numbers():
    recorder = Recorder(mixup_alpha=1.0)
    train(recorder, steps=2, num_gpus=2, gradient_accumulation_steps=2)
    assert len(recorder.calls) == 8
    assert len({call[0].tobytes() for call in recorder.calls}) == 8
    assert len({call[-1].tobytes() for call in recorder.calls}) == 8


@pytest.mark.parametrize("mode", [{"num_gpus": 1}, {"num_gpus": 2, "xla": "towers"}], ids=str)
def test_two_runs_are_equal_and_another_seed_is_not(mode):
    mode = {**mode, "dtype": "float16", "fp16_loss_scale": 8.0}
    runs = [train(BatchAugmentation(DataParams(**EVERYTHING)), **mode) for _ in range(2)]
    assert runs[0][0] == runs[1][0]
    for name, tensor in runs[0][1].items():
        np.testing.assert_array_equal(tensor, runs[1][1][name], err_msg=name)
    other, _ = train(BatchAugmentation(DataParams(**EVERYTHING)), tf_random_seed=5, **mode)
    assert other[0]["total_loss"] != runs[0][0][0]["total_loss"]


def test_a_resumed_run_draws_what_the_unbroken_one_would_have_drawn():
    """The third step, with the counters where two steps leave them."""
    recorder, resumed = Recorder(**EVERYTHING), Recorder(**EVERYTHING)
    train(recorder, steps=3)

    def after_two_steps(run):
        run.state.global_step.assign(2)
        run.state.examples_seen.assign(32)

    train(resumed, steps=1, prepare=after_two_steps)
    for array, expected in zip(resumed.calls[0], recorder.calls[2], strict=True):
        np.testing.assert_array_equal(array, expected)


def test_towers_with_xla_see_the_batches_of_those_without():
    calls = []
    for compiled in (False, True):
        recorder = Recorder(**EVERYTHING)
        train(recorder, steps=1, num_gpus=2, xla="towers" if compiled else "off")
        calls.append(sorted(recorder.calls, key=lambda call: call[0].tobytes()))
    for plain, compiled in zip(*calls, strict=True):
        for array, expected in zip(compiled, plain, strict=True):
            np.testing.assert_array_equal(array, expected)


def kinds_of_operations(augmentation):
    """What the graph of a step holds when its loss is computed, and the labels of the loss."""
    kinds, seen = set(), []

    def loss(output, labels):
        seen.append(labels)
        operations = tf.compat.v1.get_default_graph().get_operations()
        kinds.update(operation.type for operation in operations)
        return losses.cross_entropy(output.logits, labels), tf.zeros([])

    train(augmentation, steps=1, loss_function=loss)
    return kinds, seen[0]


def test_without_augmentation_nothing_is_drawn_and_labels_stay_plain():
    plain, labels = kinds_of_operations(None)
    assert isinstance(labels, tf.Tensor)
    mixing, labels = kinds_of_operations(BatchAugmentation(DataParams(**EVERYTHING)))
    assert isinstance(labels, MixedLabels)
    of_mixing = {"ReverseV2", "StatelessRandomGammaV3", "StatelessRandomUniformV2", "SelectV2"}
    assert of_mixing <= mixing
    assert not of_mixing & plain


def test_an_evaluation_sees_the_images_as_they_are():
    """A run that mixes everything evaluates its first weights as one that does not."""
    results = []
    for augmentation in (None, BatchAugmentation(DataParams(**EVERYTHING))):
        train(augmentation, steps=1, prepare=lambda run: results.append(run.evaluator.run()))
    assert results[0]["examples"] == 48
    assert results[0] == results[1]


def test_forward_only_measures_the_forward_pass_alone():
    recorder = Recorder(mixup_alpha=1.0)
    run_steps(ConvNetwork, data(recorder), steps=1, global_batch=16, forward_only=True)
    assert recorder.calls == []
