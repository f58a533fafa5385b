"""Exact counting: known ranks, ties, padding, NaN, and independence of the batching."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.step import metrics
from common.errors import DataError


def count(logits, labels, is_real=None) -> dict[str, float]:
    logits = tf.constant(np.asarray(logits, np.float32))
    is_real = None if is_real is None else tf.constant(is_real)
    return metrics.count(logits, tf.constant(labels, tf.int32), is_real).result()


def test_identical_images_are_right_once_in_ten():
    """tf_cnn_benchmarks' test: ten equal images with the labels 0..9."""
    row = np.random.default_rng(3).normal(size=10)
    result = count(np.tile(row, (10, 1)), range(10))
    assert (result["top_1"], result["top_5"]) == (0.1, 0.5)
    log_softmax = row - np.log(np.exp(row).sum())
    np.testing.assert_allclose(result["loss"], -log_softmax.mean(), rtol=1e-6)


def test_collapsed_network_is_not_taken_for_a_perfect_one():
    result = count(np.zeros((10, 10)), range(10))
    assert (result["top_1"], result["top_5"]) == (0.1, 0.5)
    np.testing.assert_allclose(result["loss"], np.log(10), atol=1e-8)


def test_ties_go_to_the_lower_class_as_in_tensorflow_top_k():
    random = np.random.default_rng(5)
    logits = random.integers(0, 4, (200, 12)).astype(np.float32)
    labels = random.integers(0, 12, 200)
    order = tf.math.top_k(logits, 5).indices.numpy()
    counts = metrics.count(tf.constant(logits), tf.constant(labels))
    assert int(counts.top_1) == np.sum(order[:, 0] == labels)
    assert int(counts.top_5) == np.sum(np.any(order == labels[:, None], axis=1))


def test_ranks():
    logits = [[5, 4, 3, 2, 1, 0]] * 6
    for label, (top_1, top_5) in enumerate([(1, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 0)]):
        counts = metrics.count(tf.constant(logits[:1], tf.float32), tf.constant([label]))
        assert (int(counts.top_1), int(counts.top_5)) == (top_1, top_5)


def test_fewer_than_five_classes_are_all_in_the_top_five():
    result = count([[3.0, 2.0, 1.0]] * 3, [0, 1, 2])
    assert (result["top_1"], result["top_5"]) == (1 / 3, 1.0)


def test_rows_with_nan_or_infinity_are_wrong():
    nan, inf = float("nan"), float("inf")
    counts = metrics.count(
        tf.constant([[nan, 0.0], [1.0, nan], [inf, 0.0], [1.0, 0.0]]), tf.constant([0, 0, 0, 0])
    )
    assert (int(counts.top_1), int(counts.top_5), int(counts.examples)) == (1, 1, 4)
    assert np.isnan(counts.loss_sum)


def test_a_row_with_nan_or_infinity_ranks_after_every_k():
    nan, inf = float("nan"), float("inf")
    logits = tf.constant([[nan, nan], [nan, 0.0], [inf, 0.0], [0.0, -inf], [0.0, 1.0]])
    ranks = metrics.rank(logits, tf.constant([0, 0, 0, 0, 0]))
    assert ranks.dtype == tf.int64
    np.testing.assert_array_equal(ranks >= 5, [True, True, True, True, False])
    assert int(ranks[-1]) == 1


def test_padding_counts_for_nothing_whatever_it_holds():
    nan = float("nan")
    result = count([[2.0, 0.0], [2.0, 0.0], [nan, nan]], [0, 1, -1], [True, True, False])
    assert (result["top_1"], result["examples"]) == (0.5, 2)
    # log(1 + e^-2) for the right one, and 2 more for the wrong one.
    np.testing.assert_allclose(result["loss"], np.log1p(np.exp(-2)) + 1, atol=1e-8)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32])
def test_any_float_type(dtype):
    counts = metrics.count(tf.constant([[1.0, 2.0], [2.0, 1.0]], dtype), tf.constant([1, 1]))
    assert int(counts.top_1) == 1
    assert counts.loss_sum.dtype == tf.float64
    np.testing.assert_allclose(counts.loss_sum, 2 * np.log1p(np.exp(-1)) + 1, atol=1e-7)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_any_batching_gives_the_same_bits(batch):
    """Labels and logits of 1000 rows; the reference is NumPy in float64."""
    random = np.random.default_rng(11)
    logits = random.normal(0, 4, (1000, 20)).astype(np.float32)
    labels = random.integers(0, 20, 1000)
    exact = logits.astype(np.float64)
    exact_losses = np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(1000), labels]
    order = np.argsort(-exact, axis=1, kind="stable")

    total = metrics.zero()
    step = tf.function(metrics.count, reduce_retracing=True)
    for start in range(0, 1000, batch):
        rows = min(batch, 1000 - start)
        padding = ((0, batch - rows), (0, 0))
        part = step(
            tf.constant(np.pad(logits[start : start + rows], padding, constant_values=np.nan)),
            tf.constant(np.pad(labels[start : start + rows], padding[0])),
            tf.range(batch) < rows,
        )
        total += part

    result = total.result()
    assert result["examples"] == 1000
    assert result["top_1"] == np.mean(order[:, 0] == labels)
    assert result["top_5"] == np.mean(np.any(order[:, :5] == labels[:, None], axis=1))
    np.testing.assert_allclose(result["loss"], exact_losses.mean(), atol=1e-8)
    # Each loss is a multiple of 2^-26, so NumPy's sum has no rounding either: equal bit by bit.
    assert result["loss"] == np.sum(np.round(exact_losses * 2**26) / 2**26) / 1000


def test_nothing_counted_is_a_data_error():
    with pytest.raises(DataError, match="no examples"):
        metrics.zero().result()


def test_the_mean_of_views_is_that_of_probabilities():
    logits = np.random.default_rng(7).normal(size=(3, 5, 4)) * 4
    softmax = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    found = metrics.mean_of_views(tf.constant(logits, tf.float32), independent=False)
    np.testing.assert_allclose(np.exp(found), softmax.mean(axis=0), rtol=1e-5)
    sigmoid = 1 / (1 + np.exp(-logits))
    found = metrics.mean_of_views(tf.constant(logits, tf.float32), independent=True)
    np.testing.assert_allclose(tf.sigmoid(found), sigmoid.mean(axis=0), rtol=1e-5)


def test_the_mean_of_views_keeps_the_order_of_tiny_probabilities():
    """In float32 the softmax of these would be zero for two classes, a tie."""
    logits = tf.constant([[[0.0, -200.0, -210.0]], [[0.0, -220.0, -210.0]]])
    found = metrics.mean_of_views(logits, independent=False).numpy()[0]
    np.testing.assert_allclose(found, [0.0, -200 - np.log(2), -210.0], rtol=1e-4)
    sure = metrics.mean_of_views(tf.constant([[[90.0]], [[110.0]]]), independent=True)
    np.testing.assert_allclose(sure, [[90 + np.log(2)]], rtol=1e-6)
    is_wrong = metrics.mean_of_views(
        tf.constant([[[0.0, np.nan]], [[0.0, 1.0]]]), independent=False
    )
    assert int(metrics.predicted(is_wrong)[0]) == -1
