"""Lengths of runs, by hand."""

from __future__ import annotations

import pytest

from benchmark_cnn.params.validation import make_params
from benchmark_cnn.run import crosses, make_plan


def plan_of(*, batch, examples, towers=1, synthetic=False, is_kept=False, **flags):
    return make_plan(
        make_params(**flags).run,
        batch_per_tower=batch,
        num_towers=towers,
        examples_per_epoch=examples,
        synthetic=synthetic,
        is_kept=is_kept,
    )


def test_epochs_are_covered_by_whole_batches():
    """Three epochs of three examples are 9; batches of 2 need 5, which cover 10/3 epochs."""
    plan = plan_of(batch=2, examples=3, num_epochs=3.0, num_warmup_batches=0)
    assert plan.total_steps == 5
    assert plan.num_epochs == pytest.approx(10 / 3)


@pytest.mark.parametrize(
    ("epochs", "steps"),
    # As a binary fraction 0.1 is a little more than a tenth, and 0.3 a little less.
    [(0.1, 1), (0.3, 3), (0.7, 7), (1.1, 11), (1.11, 12), (90.0, 900)],
)
def test_fractions_of_an_epoch_are_exact(epochs, steps):
    assert plan_of(batch=10, examples=100, num_epochs=epochs).total_steps == steps


def test_imagenet_in_the_published_batch():
    """90 epochs of 1,281,167 images at 8 x 32: 450,410.3 steps."""
    plan = plan_of(batch=32, towers=8, examples=1_281_167)
    assert plan.total_steps == 450_411
    assert plan.global_batch == 256
    assert plan.warmup_steps == 0


def test_a_benchmark_without_data_has_100_steps_after_10_of_warmup():
    plan = plan_of(batch=32, examples=1000, synthetic=True)
    assert (plan.warmup_steps, plan.total_steps) == (10, 110)
    assert plan.num_epochs == pytest.approx(100 * 32 / 1000)


@pytest.mark.parametrize(
    ("flags", "warmup", "total"),
    [
        ({"num_batches": 7, "synthetic": True}, 10, 17),
        ({"num_batches": 7, "synthetic": True, "is_kept": True}, 0, 7),
        ({"num_batches": 7, "num_warmup_batches": 0}, 0, 7),
        ({"num_batches": 7, "num_warmup_batches": 3}, 3, 10),
        ({"num_batches": 7}, 0, 7),
    ],
)
def test_warmup_comes_on_top(flags, warmup, total):
    plan = plan_of(batch=4, examples=100, **flags)
    assert (plan.warmup_steps, plan.total_steps) == (warmup, total)


def test_towers_and_accumulation_make_the_global_batch():
    plan = plan_of(batch=4, towers=3, examples=240, gradient_accumulation_steps=5, num_epochs=2.0)
    assert plan.global_batch == 60
    assert plan.total_steps == 8
    assert plan.steps_per(0.5) == 2
    assert plan.steps_per(0.1) * 5 == 2
    assert plan.epoch_at(60) == 0.25


def test_crosses_looks_at_the_half_open_interval():
    assert [step for step in range(1, 10) if crosses(step - 1, step, 3)] == [3, 6, 9]
    assert crosses(3, 7, 3)
    assert not crosses(3, 5, 3)
    assert not crosses(6, 6, 3)
    assert not crosses(0, 100, None)


def test_crosses_a_fractional_interval_as_often_as_it_fits():
    """Evaluations every half epoch of 5 steps fall on the first step past each half."""
    every = plan_of(batch=2, examples=10, num_epochs=2.0).steps_per(0.5)
    assert [step for step in range(1, 11) if crosses(step - 1, step, every)] == [3, 5, 8, 10]
