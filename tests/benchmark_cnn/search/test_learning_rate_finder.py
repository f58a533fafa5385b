"""The range test: rates and losses against NumPy, and the proposal on known curves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark_cnn.params.validation import make_params
from benchmark_cnn.search import learning_rate_finder
from benchmark_cnn.search.learning_rate_finder import find, propose, range_test, smoothed
from benchmark_cnn.training_setup import set_up
from common.errors import DataError
from tests.benchmark_cnn.networks import (
    ArrayData,
    ConvNetwork,
    ProductNetwork,
    Spec,
    random_examples,
)

RATES = 1e-7 * (1e8) ** (np.arange(100) / 99)
STEP = math.log10(RATES[1] / RATES[0])  # decades


def test_the_steps_are_those_of_numpy_at_growing_rates():
    """loss = mean(x) A B, without momentum: A and B by hand, to 4 times the first loss."""
    x = np.arange(1, 9, dtype=np.float32).reshape(8, 1, 1, 1)
    params = make_params(device="cpu", optimizer="sgd", weight_decay=0.0, batch_size=2)
    run = set_up(params, Spec(ProductNetwork), ArrayData(x, np.zeros(8)), loss=ProductNetwork.loss)
    rates, losses = range_test(run)
    a, b, expected = 1.0, 2.0, []
    for number, rate in enumerate(RATES):
        mean = float(x.ravel()[(2 * number + np.arange(2)) % 8].mean())
        expected.append(mean * a * b)
        if expected[-1] > 4 * expected[0] or len(expected) == len(losses):
            break
        a, b = a - rate * mean * b, b - rate * mean * a
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    np.testing.assert_allclose(rates, RATES[: len(rates)], rtol=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_proposal_is_where_a_known_curve_falls_fastest(noise):
    """A fall by a logistic curve in the logarithm of the rate, around 1e-3; a rise after 1e-1."""
    decades = np.log10(RATES)
    losses = 2.3 - 2 / (1 + np.exp(-(decades + 3) * 5)) + 10 ** np.maximum(0, decades + 1) - 1
    losses += noise * np.random.default_rng(4).normal(size=100)
    proposal = propose(RATES, losses)
    assert abs(math.log10(proposal.steepest) + 3) < (1.5 if noise == 0 else 5) * STEP
    assert -3 < math.log10(proposal.tenth) < -1.5


def test_the_average_neither_lags_nor_moves_a_line():
    line = smoothed([20 - 0.1 * n for n in range(100)])
    np.testing.assert_allclose(line[40:60], [20 - 0.1 * n for n in range(40, 60)], atol=1e-3)
    assert smoothed([1.0] * 5) == pytest.approx([1.0] * 5)
    assert max(smoothed([1.0, 1.0, 1e9])) <= 4


def test_a_loss_that_never_falls_gives_no_proposal():
    with pytest.raises(DataError, match="does not fall at any learning rate"):
        propose(RATES, np.linspace(1, 2, 100))


class Sized(ArrayData):
    """Notes which sizes were asked for."""

    def __init__(self, *arrays):
        super().__init__(*arrays)
        self.sizes = []

    def train_batches(self, *, image_size, **options):
        self.sizes.append(image_size)
        return super().train_batches(image_size=image_size, **options)


def test_a_picture_and_a_proposal_and_nothing_else(tmp_path):
    """At the first of several sizes: the others begin after the steps of the test."""
    dataset, found = Sized(*random_examples(40)), []
    for schedule in (None, "12:0,16:90"):
        params = make_params(
            device="cpu", batch_size=8, train_dir=str(tmp_path / "run"), learning_rate_finder=True,
            image_size_schedule=schedule,
        )  # fmt: skip
        found.append(find(params, Spec(ConvNetwork), dataset))
    assert dataset.sizes == [8, 12]
    first, second = found
    assert first == second
    assert 1e-7 < first.steepest < 10
    assert [path.name for path in (tmp_path / "run").iterdir()] == [learning_rate_finder.PICTURE]
    assert (tmp_path / "run" / learning_rate_finder.PICTURE).read_bytes()[:4] == b"\x89PNG"
