"""What is mistaken for what: against dense matrices and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from benchmark_cnn import class_report
from benchmark_cnn.class_report import Confusion

CLASSES = 12


@pytest.fixture(scope="module")
def examples():
    """900 examples of ten of twelve classes; all twelve are predicted, or none."""
    random = np.random.default_rng(4)
    true = random.integers(0, 10, 900)
    predicted = np.where(random.random(900) < 0.6, true, random.integers(-1, CLASSES, 900))
    return true, predicted


def test_f1_is_that_of_scikit_learn_over_the_classes_with_examples(examples):
    true, predicted = examples
    confusion = Confusion.of(true, predicted, CLASSES)
    of_sklearn = metrics.f1_score(true, predicted, labels=range(10), average=None)
    np.testing.assert_allclose(confusion.f1[:10], of_sklearn, rtol=1e-12)
    macro = metrics.f1_score(true, predicted, labels=range(10), average="macro")
    assert confusion.macro_f1 == pytest.approx(macro, rel=1e-12)
    assert list(confusion.f1[10:]) == [0, 0]


def test_classes_and_pairs_are_those_of_the_matrix(examples):
    true, predicted = examples
    confusion = Confusion.of(true, predicted, CLASSES)
    labels = range(-1, CLASSES)
    matrix = metrics.confusion_matrix(true, predicted, labels=labels)[1:]
    entries = class_report.entries(confusion, [f"name {number}" for number in range(CLASSES)])
    recall = {number: matrix[number, number + 1] / matrix[number].sum() for number in range(10)}
    assert [e["class"] for e in entries["classes"]] == sorted(recall, key=lambda n: (recall[n], n))
    assert {e["class"]: e["top_1"] for e in entries["classes"]} == recall
    off_diagonal = sorted(
        (-matrix[t, p + 1], t, p) for t in range(10) for p in range(CLASSES) if t != p
    )
    found = [
        (-pair["count"], pair["true"], pair["predicted"]) for pair in entries["confused_pairs"]
    ]
    assert found == off_diagonal[:20]
    assert all(pair["examples"] == matrix[pair["true"]].sum() for pair in entries["confused_pairs"])


def test_twenty_one_thousand_classes_need_no_matrix():
    """A dense matrix of int32 would have 1.9 GB."""
    number = 21_841
    true = np.arange(number)
    confusion = Confusion.of(true, (true + (true % 2)) % number, number)
    assert confusion.counts.nbytes + confusion.true.nbytes + confusion.predicted.nbytes < 1e6
    assert confusion.correct.sum() == (number + 1) // 2
    assert confusion.confused_pairs(2) == [(1, 2, 1), (3, 4, 1)]


def test_the_lines_leave_out_what_the_file_has():
    true = np.repeat(np.arange(CLASSES), 2)
    confusion = Confusion.of(true, np.where(np.arange(24) == 6, 4, true), CLASSES)
    names = [f"name {number}" for number in range(CLASSES)]
    lines = class_report.lines(class_report.entries(confusion, names), "eval.json")
    assert lines[1].split() == ["50.00%", "1", "of", "2", "name", "3"]
    assert lines[10:12] == [
        "  100.00%           2 of 2  name 9", "  2 more classes are in eval.json"
    ]  # fmt: skip
    assert [line.strip() for line in lines[12:]] == [
        "Most confused:", "1 of 2  name 3 taken for name 4"
    ]  # fmt: skip


def test_nothing_is_confused():
    confusion = Confusion.of(np.zeros(3, int), np.array([0, 0, -1]), 1)
    lines = class_report.lines(class_report.entries(confusion, ["only"]), "eval.json")
    assert [line.strip() for line in lines] == [
        "Top-1 of the class, worst first:", "66.67%           2 of 3  only",
        "Most confused: no class with another",
    ]  # fmt: skip
