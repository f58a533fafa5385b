"""Scores against a second computation, closed forms and scikit-learn; missing counts as wrong."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from common.errors import DataError, UsageError
from inference.accuracy import scores
from inference.predictions import table
from tests.inference.accuracy.artifacts import CLASSES, IMAGES, random_predictions, without


def names(predictions):
    return predictions.manifest["class_names"]


def test_the_accuracies_are_those_of_a_few_lines():
    predictions = random_predictions()
    result = scores.scores(scores.outcomes_of(predictions), names(predictions))
    rows = list(zip(predictions.labels, predictions.classes, strict=True))
    assert result["top_1"] == sum(label == row[0] for label, row in rows) / IMAGES
    assert result["top_5"] == sum(label in list(row) for label, row in rows) / IMAGES
    assert 0.5 < result["top_1"] < result["top_5"] < 1
    f1 = metrics.f1_score(predictions.labels, predictions.classes[:, 0], average="macro")
    assert result["macro_f1"] == pytest.approx(f1, rel=1e-12)
    recall = metrics.recall_score(predictions.labels, predictions.classes[:, 0], average=None)
    assert [entry["top_1"] for entry in result["classes"]] == sorted(recall)


def test_a_deleted_prediction_counts_as_wrong():
    predictions = random_predictions()
    right = np.flatnonzero(predictions.labels == predictions.classes[:, 0])[:7]
    before = scores.scores(scores.outcomes_of(predictions), names(predictions))
    deleted = without(predictions, right)
    after = scores.scores(scores.outcomes_of(deleted), names(predictions))
    assert (before["missing"], after["missing"]) == (0, 7)
    assert (before["images"], after["images"]) == (IMAGES, IMAGES)
    assert after["top_1"] * IMAGES == pytest.approx(before["top_1"] * IMAGES - 7)
    assert after["top_5"] * IMAGES == pytest.approx(before["top_5"] * IMAGES - 7)
    predicted = deleted.classes[:, 0]
    f1 = metrics.f1_score(predictions.labels, predicted, labels=range(CLASSES), average="macro")
    assert after["macro_f1"] == pytest.approx(f1, rel=1e-12)
    assert before["confused_pairs"] == after["confused_pairs"]


def test_images_without_a_class_are_left_out():
    predictions = random_predictions()
    labels = predictions.labels.copy()
    labels[:100] = -1
    partly = dataclasses.replace(predictions, labels=labels)
    result = scores.scores(scores.outcomes_of(partly), names(predictions))
    assert (result["images"], result["unlabeled"]) == (300, 100)
    assert result["top_1"] == np.mean((labels == predictions.classes[:, 0])[100:])
    with pytest.raises(DataError, match="no image has a known class"):
        scores.outcomes_of(dataclasses.replace(predictions, labels=labels * 0 - 1))


@pytest.mark.parametrize(("num_classes", "top", "expected"), [(3, 3, 1.0), (5, 5, 1.0)])
def test_with_five_classes_or_fewer_every_prediction_is_in_the_top_five(num_classes, top, expected):
    predictions = random_predictions(num_classes=num_classes, top=top)
    outcomes = scores.outcomes_of(without(predictions, [3]))
    assert outcomes.top_5 is not None
    assert outcomes.top_5.sum() == IMAGES - 1
    assert not outcomes.top_5[3]


def test_top_5_is_unknown_where_the_table_holds_fewer_classes():
    predictions = random_predictions(top=3)
    result = scores.scores(scores.outcomes_of(predictions), names(predictions))
    assert (result["top_5"], result["top_5_interval"]) == (None, None)
    assert result["top_1"] == np.mean(predictions.labels == predictions.classes[:, 0])


@pytest.mark.parametrize(
    ("correct", "number"), [(0, 10), (1, 10), (5, 10), (10, 10), (37541, 50000)]
)
def test_the_interval_is_wilsons(correct, number):
    of_scipy = stats.binomtest(correct, number).proportion_ci(method="wilson")
    assert scores.wilson(correct, number) == pytest.approx(tuple(of_scipy), rel=1e-9, abs=1e-12)


def test_the_bounds_of_the_interval_solve_the_equation_of_the_score_test():
    """(p - share)^2 = z^2 p (1 - p) / n, with z = 1.959964 of the tables."""
    for bound in scores.wilson(64, 80):
        assert (bound - 0.8) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / 80, rel=1e-6)
    assert not math.isclose(*scores.wilson(80, 80))


def test_only_the_classes_of_the_data_compete():
    """All twelve are in the table: the best of four classes is their largest probability."""
    labels = np.random.default_rng(3).choice([1, 4, 7, 10], IMAGES)
    predictions = random_predictions(top=CLASSES, labels=labels, accuracy=0.2)
    of_all = scores.outcomes_of(predictions)
    of_data = scores.outcomes_of(predictions, table.SUBSET)
    dense = np.zeros((IMAGES, CLASSES))
    np.put_along_axis(dense, predictions.classes, predictions.probabilities, axis=1)
    best = np.array([1, 4, 7, 10])[dense[:, [1, 4, 7, 10]].argmax(axis=1)]
    np.testing.assert_array_equal(of_data.predicted, best)
    np.testing.assert_array_equal(of_data.top_1, best == labels)
    assert of_data.top_5 is not None
    assert of_data.top_5.all()
    assert of_data.top_1.mean() > of_all.top_1.mean() + 0.1
    np.testing.assert_array_equal(of_all.predicted, dense.argmax(axis=1))


def test_a_table_that_is_too_narrow_for_the_data_says_so():
    """With 5 of 12 classes the row of one image has none of the two that compete."""
    labels = np.random.default_rng(3).choice([1, 4], IMAGES)
    predictions = random_predictions(labels=labels, accuracy=0.2)
    row = next(
        place for place, row in enumerate(predictions.classes) if not {1, 4} & set(row.tolist())
    )
    image = predictions.images[row]
    message = f"none of the 5 best classes of {image} is one of the data's 2 classes: predict with "
    with pytest.raises(DataError, match=message):
        scores.outcomes_of(predictions, table.SUBSET)


def test_a_narrow_table_of_the_datas_classes_serves_where_it_decides():
    """Two classes compete: one of them in the row decides top-1, whatever the others are."""
    labels = np.random.default_rng(3).choice([1, 4], IMAGES)
    wide = random_predictions(labels=labels, accuracy=1.0, top=CLASSES)
    narrow = random_predictions(labels=labels, accuracy=1.0)
    of_wide = scores.outcomes_of(wide, table.SUBSET)
    of_narrow = scores.outcomes_of(narrow, table.SUBSET)
    np.testing.assert_array_equal(of_wide.predicted, of_narrow.predicted)
    assert of_narrow.top_5 is not None
    np.testing.assert_array_equal(of_wide.top_5, of_narrow.top_5)


def test_a_subset_that_was_predicted_is_taken_as_it_is():
    """Three of twelve classes, two of which have images: top-5 holds all three."""
    labels = np.random.default_rng(3).choice([1, 4], IMAGES)
    wide = random_predictions(labels=labels, accuracy=0.2, top=CLASSES)
    about = {"name": "photos", "classes": [1, 4, 6]}
    of_wide = scores.outcomes_of(
        dataclasses.replace(wide, manifest={**wide.manifest, "data": about}), table.SUBSET
    )
    subset = dataclasses.replace(
        wide,
        manifest={**wide.manifest, "data": about, "classes": "subset", "top": 3},
        classes=of_wide.classes[:, :3],
        probabilities=of_wide.probabilities[:, :3],
    )
    of_subset = scores.outcomes_of(subset)
    np.testing.assert_array_equal(of_subset.classes, of_wide.classes[:, :3])
    assert set(np.unique(of_subset.predicted)) == {1, 4, 6}
    assert of_subset.num_competing == of_wide.num_competing == 3
    assert of_subset.top_5 is not None
    assert of_subset.top_5.all()
    with pytest.raises(UsageError, match="predictions with --classes=subset: predict again"):
        scores.outcomes_of(subset, table.ALL)
