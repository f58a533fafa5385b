"""An evaluation counts every example once, whatever the batch size and the number of towers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import preprocessing.registry
from benchmark_cnn import evaluation, training_setup
from benchmark_cnn.evaluation import Evaluator
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.validation import make_params
from common.errors import DataError
from tests.benchmark_cnn.networks import ArrayData, Output, Unprepared
from tests.preprocessing.image_shards import write_numbered_split

EXAMPLES, CLASSES = 1003, 9  # 17 * 59: no batch size below divides it
TOWERS, BATCH_SIZES = (1, 2, 3, 8), (7, 32, 1000)


class LogitsInImages(Unprepared):
    """Arithmetic on single examples, so that the network itself knows no batch."""

    background_class = False

    def __call__(self, images, *, training):
        assert not training
        return Output(tf.reshape(images, [-1, CLASSES]), None, {})


class NumberInColor(Unprepared):
    """Of example n, read from its color, class 7n comes first, then 7n+1, ... (modulo 1000)."""

    background_class = False

    def __call__(self, images, *, training):
        color = tf.cast(images[:, 0, 0, :], tf.int32)
        first = 7 * (color[:, 0] * 256 + color[:, 1])
        rank = tf.math.floormod(tf.range(1000) - first[:, None], 1000)
        return Output(-0.01 * tf.cast(rank, tf.float32), None, {})


def evaluate(network, dataset, *, towers, batch_size, image_size=8, num_classes=None):
    _, manager = training_setup.make_manager(make_params(device="cpu", num_gpus=towers))
    evaluator = Evaluator(manager, network, dataset, batch_size=batch_size, image_size=image_size)
    return evaluator.run(num_classes=num_classes)


def difficult_examples():
    """Random logits; many ties, which the lower class wins, and rows with a NaN, always wrong."""
    random = np.random.default_rng(9)
    logits = np.round(random.normal(0, 2, (EXAMPLES, CLASSES)), 1).astype(np.float32)
    return logits, random.integers(0, CLASSES, EXAMPLES)


def numpy_counts(logits, labels):
    """A loop over examples, in float64."""
    top_1 = top_5 = 0
    loss = 0.0
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        top_1 += label in order[:1]
        top_5 += label in order[:5]
        loss += np.log(np.exp(row).sum()) - row[label]
    return top_1, top_5, loss / len(labels)


def numpy_confusion(logits, labels):
    """The whole matrix; its last column counts rows without a class."""
    matrix = np.zeros((CLASSES, CLASSES + 1), int)
    for row, label in zip(logits, labels, strict=True):
        best = min(range(len(row)), key=lambda c: (-row[c], c)) if np.isfinite(row).all() else -1
        matrix[int(label), best] += 1
    return matrix


def assert_confusion_is(confusion, matrix):
    found = np.zeros_like(matrix)
    found[confusion.true, confusion.predicted] = confusion.counts
    np.testing.assert_array_equal(found, matrix)
    np.testing.assert_array_equal(confusion.examples, matrix.sum(axis=1))
    np.testing.assert_array_equal(confusion.correct, np.diag(matrix))


@pytest.fixture(scope="module")
def of_numpy():
    logits, labels = difficult_examples()
    ties = sum(np.sum(row == row[label]) > 1 for row, label in zip(logits, labels, strict=True))
    assert ties > 50, "without ties the order of equal logits would not matter"
    return numpy_counts(logits, labels)


@pytest.fixture(scope="module")
def losses():
    """The loss of every combination so far: they must be one."""
    return set()


@pytest.mark.parametrize("towers", TOWERS)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_the_same_bits_for_every_division(of_numpy, losses, towers, batch_size):
    logits, labels = difficult_examples()
    dataset = ArrayData(logits[:, None, None, :], labels, CLASSES)
    result = evaluate(
        LogitsInImages(), dataset, towers=towers, batch_size=batch_size, num_classes=CLASSES
    )
    assert_confusion_is(result.pop("confusion"), numpy_confusion(logits, labels))
    top_1, top_5, loss = of_numpy
    assert result["examples"] == EXAMPLES
    assert result["top_1"] == top_1 / EXAMPLES
    assert result["top_5"] == top_5 / EXAMPLES
    # Each example's loss is rounded to 2^-26.
    np.testing.assert_allclose(result["loss"], loss, rtol=0, atol=2.0**-26)
    losses.add(result["loss"])
    assert len(losses) == 1


def test_rows_that_are_not_finite_are_wrong_and_counted():
    logits, labels = np.zeros((5, CLASSES), np.float32), np.zeros(5)
    logits[:, 0] = 1.0
    logits[3, 4] = np.nan
    dataset = ArrayData(logits[:, None, None, :], labels, CLASSES)
    result = evaluate(LogitsInImages(), dataset, towers=2, batch_size=2, num_classes=CLASSES)
    assert (result["examples"], result["top_1"], result["top_5"]) == (5, 0.8, 0.8)
    assert_confusion_is(result["confusion"], numpy_confusion(logits, labels))
    assert result["confusion"].confused_pairs(3) == []


def test_an_image_taken_for_the_background_has_no_class():
    """Output 0 of nine is the background: the labels 0..7 are the outputs 1..8."""

    class WithBackground(LogitsInImages):
        background_class = True

    logits = np.eye(CLASSES, dtype=np.float32)[[0, 1, 2, 2, 8, 8]]
    dataset = ArrayData(logits[:, None, None, :], np.array([0, 0, 0, 1, 7, 2]), CLASSES - 1)
    result = evaluate(WithBackground(), dataset, towers=2, batch_size=2, num_classes=8)
    confusion = result["confusion"]
    found = zip(confusion.true, confusion.predicted, confusion.counts, strict=True)
    expected = [(0, -1, 1), (0, 0, 1), (0, 1, 1), (1, 1, 1), (2, 7, 1), (7, 7, 1)]
    assert [tuple(map(int, pair)) for pair in found] == expected
    assert result["top_1"] == 3 / 6 == confusion.correct.sum() / 6


@pytest.mark.parametrize(("towers", "batch_size"), [(1, 7), (3, 32), (2, 1000)])
def test_records_through_the_input_pipeline(tmp_path, towers, batch_size):
    write_numbered_split(tmp_path, "validation", EXAMPLES, 4)
    dataset = preprocessing.registry.open_dataset(
        DataParams(data_dir=str(tmp_path), data_name="imagenet")
    )
    result = evaluate(NumberInColor(), dataset, towers=towers, batch_size=batch_size)
    number = np.arange(EXAMPLES)
    rank_of_label = (number % 1000 - 7 * number) % 1000
    assert result["examples"] == EXAMPLES
    assert result["top_1"] == np.sum(rank_of_label == 0) / EXAMPLES == 3 / EXAMPLES
    assert result["top_5"] == np.sum(rank_of_label < 5) / EXAMPLES
    of_all_classes = np.log(np.exp(-0.01 * np.arange(1000)).sum())
    expected = of_all_classes + 0.01 * rank_of_label.mean()
    np.testing.assert_allclose(result["loss"], expected, rtol=1e-6)


def test_an_example_too_few_is_an_error():
    class Short(ArrayData):
        def num_examples(self, subset):
            return super().num_examples(subset) + 1

    dataset = Short(np.zeros((5, 1, 1, CLASSES), np.float32), np.zeros(5), CLASSES)
    with pytest.raises(DataError, match="gave 5 examples where 6 were announced"):
        evaluate(LogitsInImages(), dataset, towers=2, batch_size=2)


def test_the_speed_on_gpus_is_that_of_steps_that_were_waited_for(monkeypatch):
    """A call only queues a step there: its own time says nothing."""
    seconds = iter(range(100))
    counted = SimpleNamespace(perf_counter=lambda: float(next(seconds)))
    monkeypatch.setattr(evaluation, "time", counted)
    clock, waited = evaluation._Clock(10), []

    class Result:
        def __array__(self, *_arguments, **_options):
            waited.append(step)
            return np.zeros([])

    speeds = []
    for step in range(1, 31):
        speeds.append(clock.steps_per_sec(step, Result()))
    assert waited == [1, 10, 20, 30]
    assert speeds == [1.0] * 9 + [9.0] * 10 + [10.0] * 11
