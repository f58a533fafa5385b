"""McNemar's test against SciPy's distributions, and agreement against a loop."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from common.errors import DataError
from inference.accuracy import comparison, scores
from tests.inference.accuracy.artifacts import IMAGES, manifest, random_predictions, without


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (5, 5), (3, 17), (17, 3), (400, 600)])
def test_mcnemars_exact_test_is_a_binomial_test(b, c):
    found = comparison.mcnemar(b, c)
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert found["method"] == "exact"
    assert found["p_value"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("b", "c"), [(501, 500), (700, 900), (900, 700), (5000, 5400)])
def test_mcnemars_chi_squared_test_is_that_of_the_tables(b, c):
    found = comparison.mcnemar(b, c)
    statistic = (abs(b - c) - 1) ** 2 / (b + c)
    assert (found["method"], found["statistic"]) == ("chi_squared", pytest.approx(statistic))
    assert found["p_value"] == pytest.approx(stats.chi2.sf(statistic, 1), rel=1e-9)
    # Both tests agree where one gives way to the other.
    assert found["p_value"] == pytest.approx(stats.binomtest(b, b + c).pvalue, abs=1e-3)


def test_the_textbook_example():
    """Agresti, Categorical Data Analysis: 150 and 86 changed their mind; without correction
    (86 - 150)^2 / 236 = 17.36. The exact p-value is of the same size."""
    found = comparison.mcnemar(150, 86)
    assert 1e-5 < found["p_value"] < 1e-4
    assert stats.chi2.sf(17.36, 1) == pytest.approx(found["p_value"], rel=0.4)


def test_agreement_and_counts_are_those_of_a_loop():
    first, second = without(random_predictions(1), [0, 1]), without(random_predictions(2), [1])
    (entry,) = comparison.compare({"a": scores.outcomes_of(first), "b": scores.outcomes_of(second)})
    same = only_first = only_second = 0
    for label, one, other in zip(first.labels, first.classes, second.classes, strict=True):
        same += int(one[0] == other[0] and one[0] >= 0)
        only_first += int(one[0] == label != other[0])
        only_second += int(one[0] != label == other[0])
    assert entry["agreement"] == same / IMAGES
    assert (entry["only_first_correct"], entry["only_second_correct"]) == (only_first, only_second)
    assert entry["mcnemar"] == comparison.mcnemar(only_first, only_second)
    assert min(only_first, only_second) > 20


def test_three_artifacts_are_compared_two_by_two():
    outcomes = {name: scores.outcomes_of(random_predictions(s)) for s, name in enumerate("abc", 1)}
    found = comparison.compare(outcomes)
    assert [(e["first"], e["second"]) for e in found] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_another_order_of_the_images_is_put_right():
    first = random_predictions(1)
    order = np.random.default_rng(5).permutation(IMAGES)
    fields = ("images", "labels", "classes", "probabilities")
    shuffled = dataclasses.replace(first, **{name: getattr(first, name)[order] for name in fields})
    found = comparison.check_comparable({"a": first, "b": shuffled})["b"]
    for name in fields:
        np.testing.assert_array_equal(getattr(found, name), getattr(first, name))


def other(**changes):
    return dataclasses.replace(random_predictions(2), **changes)


MISTAKES = {
    "images": (lambda: random_predictions(2, num_images=399), "only one of them has 0399.jpg"),
    "labels": (lambda: other(labels=(random_predictions().labels + 1) % 12), "those of 0000.jpg"),
    "classes": (
        lambda: other(manifest=manifest(class_names=["x"] * 12)),
        "networks with other classes",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_compared_is_refused(mistake):
    make, message = MISTAKES[mistake]
    with pytest.raises(DataError, match=f"a and b are of .*{message}"):
        comparison.check_comparable({"a": random_predictions(1), "b": make()})
