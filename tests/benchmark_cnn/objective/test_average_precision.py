"""Mean average precision against scikit-learn, and over towers and batches."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score

from benchmark_cnn.objective import average_precision
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.step import metrics
from benchmark_cnn.training_setup import set_up
from common.errors import UsageError
from tests.benchmark_cnn.engine import run_steps
from tests.benchmark_cnn.networks import (
    ArrayData,
    ConvNetwork,
    Spec,
    random_examples,
    several_labels,
)


@pytest.mark.parametrize("levels", [None, 4, 1], ids=["distinct", "ties", "all equal"])
def test_it_is_scikit_learns(levels):
    random = np.random.default_rng(5)
    labels = random.random((200, 6)) < [0.5, 0.1, 0.9, 0.02, 0.3, 1.0]
    labels[0] = True  # every class has an image
    scores = random.normal(0, 1, (200, 6)) + labels
    if levels:
        scores = np.floor(random.random((200, 6)) * levels)
    got = average_precision.average_precisions(labels, scores)
    np.testing.assert_allclose(got, average_precision_score(labels, scores, average=None))
    expected = average_precision_score(labels, scores, average="macro")
    assert average_precision.mean(got) == pytest.approx(expected, rel=1e-12)


def test_a_class_without_images_has_no_precision_and_does_not_count():
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    got = average_precision.average_precisions(labels, np.array([[3.0, 1], [2, 2], [1, 3]]))
    np.testing.assert_array_equal(got, [(1 + 2 / 3) / 2, np.nan])
    assert average_precision.mean(got) == got[0]
    assert np.isnan(average_precision.mean(got[1:]))
    (entry,) = average_precision.entries(got, np.array([2, 0]), ["cat", "dog"])["classes"]
    assert (entry["name"], entry["examples"]) == ("cat", 2)


def test_scores_that_are_not_finite_rank_last():
    labels = np.array([[1], [0], [1]])
    got = average_precision.average_precisions(labels, np.array([[np.nan], [2.0], [3.0]]))
    np.testing.assert_allclose(got, [(1 + 2 / 3) / 2])


def data(count=50):
    images, labels = random_examples(count)
    return ArrayData(images, several_labels(labels))


FLAGS = {"loss": "bce", "optimizer": "sgd", "learning_rate": 0.1}


@pytest.mark.parametrize("towers", [1, 2, 4])
def test_an_evaluation_ranks_the_whole_set(towers):
    """50 images in batches of 8: the last batch, and with 4 towers the last step, have padding."""
    found = {}

    def evaluate(run):
        dataset = run.dataset
        logits = run.evaluator.network(tf.constant(dataset.images), training=False).logits
        found["score"] = average_precision_score(dataset.labels, logits.numpy(), average="macro")
        first = logits.numpy().argmax(axis=1)
        found["top_1"] = dataset.labels[np.arange(50), first].mean()
        loss = tf.nn.sigmoid_cross_entropy_with_logits(dataset.labels, logits)
        found["loss"] = float(tf.reduce_mean(loss))
        found["result"] = run.evaluator.run()

    run_steps(
        lambda: ConvNetwork(batch_norm="tower"), data(), steps=1, global_batch=8 * towers,
        num_gpus=towers, prepare=evaluate, **FLAGS,
    )  # fmt: skip
    result = found["result"]
    assert result["mean_average_precision"] == pytest.approx(found["score"], rel=1e-6)
    assert result["top_1"] == pytest.approx(found["top_1"])
    assert result["loss"] == pytest.approx(found["loss"], rel=1e-5)
    assert result["examples"] == 50
    assert result["examples_of_classes"].sum() == several_labels(random_examples(50)[1]).sum()


def test_towers_train_as_one_on_several_labels():
    runs = [
        run_steps(ConvNetwork, data(48), steps=3, global_batch=16, num_gpus=towers, **FLAGS)[1]
        for towers in (1, 2)
    ]
    for name, tensor in runs[0].items():
        np.testing.assert_allclose(runs[1][name], tensor, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_best_label_of_an_image_counts_in_top_k():
    logits = tf.constant([[3.0, 2, 1], [3, 2, 1], [3, 3, 1], [1, 2, 3], [np.nan, 2, 1]])
    labels = tf.constant([[0.0, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 0]])
    never = np.iinfo(np.int64).max
    assert metrics.rank(logits, labels).numpy().tolist() == [1, 0, 1, never, never]
    shifted = metrics.after_background(labels)
    assert shifted.numpy().tolist() == [[0.0, *row] for row in labels.numpy().tolist()]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "--loss=softmax cannot be used on arrays, whose images have several labels: give"),
        ({"loss": "bce", "class_weights": "balanced"}, "--class_weights has no effect on arrays"),
        ({"loss": "bce", "balanced_sampling": True}, "--balanced_sampling has no effect"),
        ({"loss": "focal", "num_classes": 9}, "--num_classes has no effect"),
    ],
)
def test_flags_for_one_label_are_refused(flags, words):
    params = make_params(device="cpu", data_dir="photos", **flags)
    with pytest.raises(UsageError, match=words):
        set_up(params, Spec(ConvNetwork), data())
