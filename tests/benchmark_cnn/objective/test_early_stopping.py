"""`--early_stopping_epochs`: the rule, and runs that stop, resume and keep the best."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark_cnn import training, training_setup
from benchmark_cnn.objective.early_stopping import reason_to_stop
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console
from benchmark_cnn.run import RunPlan
from checkpoints import best, store
from common.errors import Stopped, UsageError
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples
from tests.benchmark_cnn.test_resume import stop_at

PLAN = RunPlan(8, 1, 1, examples_per_epoch=44, warmup_steps=0, total_steps=100)  # 5.5 steps


def history(*results):
    """Evaluations at the steps that end epochs 1, 2, ...: 6, 11, 17, 22, ..."""
    return [
        (math.ceil(5.5 * epoch), dict(zip(("top_1", "loss"), result, strict=True)))
        for epoch, result in enumerate(results, start=1)
    ]


@pytest.mark.parametrize(
    ("results", "stops"),
    [
        ([], False),
        ([(0.5, 1.0)], False),
        ([(0.5, 1.0), (0.4, 0.9)], False),
        ([(0.5, 1.0), (0.4, 0.9), (0.5, 1.0)], True),
        ([(0.5, 1.0), (0.4, 0.9), (0.5, 0.99)], False),  # as accurate, with a lower loss
        ([(0.5, 1.0), (0.6, 1.0), (0.5, 1.0)], False),
        ([(math.nan, 1.0), (0.1, math.nan), (0.05, 1.0)], False),
        ([(0.1, 1.0), (math.nan, math.nan), (math.nan, 0.5)], True),
    ],
)
def test_two_epochs_without_a_better_evaluation(results, stops):
    line = reason_to_stop(history(*results), 2.0, PLAN.steps_per)
    assert (line is not None) == stops
    assert reason_to_stop(history(*results), None, PLAN.steps_per) is None


def test_the_line_names_the_best():
    line = reason_to_stop(history((0.25, 1.0), (0.2, 1.0)), 1.0, PLAN.steps_per)
    assert line == (
        "Stopped early at step 11: in 1 epochs nothing was better than step 6 with top-1 25.00%"
    )
    several = [(6, {"mean_average_precision": 0.5, "top_1": 0.1, "loss": 1.0})]
    several.append((11, {"mean_average_precision": 0.4, "top_1": 0.9, "loss": 0.1}))
    assert "with mean average precision 50.00%" in reason_to_stop(several, 1.0, PLAN.steps_per)


def train(train_dir, on_line=lambda line: None, **flags):
    """Epochs of 5 steps at a rate at which nothing is learned after the first of them."""
    flags = {
        "learning_rate": 1e-12, "optimizer": "sgd", "num_epochs": 20.0, "eval_every_epochs": 1.0,
        "display_every": 1, "num_warmup_batches": 0, "early_stopping_epochs": 3.0, **flags,
    }  # fmt: skip
    params = make_params(
        device="cpu", batch_size=8, train_dir=train_dir and str(train_dir), **flags
    )
    with console.routed_through(on_line):
        return training.train(params, Spec(ConvNetwork), ArrayData(*random_examples(40)))


@pytest.mark.slow
def test_a_run_stops_keeps_its_best_and_stays_stopped(tmp_path):
    lines = []
    result = train(tmp_path / "unbroken", lines.append)
    assert result["global_step"] == 20  # the best is that of step 5
    (line,) = [line for line in lines if line.startswith("Stopped early")]
    assert line.startswith("Stopped early at step 20: in 3 epochs nothing was better than step 5")
    assert best.best_metrics(tmp_path / "unbroken")["global_step"] == 5
    again = []
    assert train(tmp_path / "unbroken", again.append)["global_step"] == 20
    assert line in again
    with pytest.raises(Stopped):
        train(tmp_path / "run", stop_at("12\timages"))
    assert train(tmp_path / "run")["global_step"] == 20
    got, wanted = (store.read(tmp_path / name) for name in ("run", "unbroken"))
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(got[name], tensor, err_msg=name)
    # More patience, and the same run trains on.
    assert train(tmp_path / "run", early_stopping_epochs=5.0)["global_step"] == 30


@pytest.mark.parametrize("epochs", [18.0, 19.0])
def test_a_patience_that_no_run_of_this_length_loses_is_warned_of(caplog, epochs):
    """The run of 100 steps ends at epoch 18.18."""
    flags = {"eval_every_epochs": 1.0, "num_epochs": 18.18}
    plateau = {"learning_rate_schedule": "plateau", "learning_rate_decay_factor": 0.5}
    for name, more in (("early_stopping_epochs", {}), ("learning_rate_patience_epochs", plateau)):
        caplog.clear()
        with caplog.at_level("WARNING", logger="absl"):
            training_setup._warn_of_patience(make_params(**flags, **more, **{name: epochs}), PLAN)
        line = f"--{name}={epochs:g} has no effect: the run ends at epoch 18.18"
        assert caplog.messages == ([line] if epochs == 19 else [])


def test_it_works_without_a_run_directory_and_not_without_evaluations():
    assert train(None)["global_step"] == 20
    with pytest.raises(UsageError, match="--early_stopping_epochs needs --eval_every_epochs or"):
        make_params(early_stopping_epochs=3.0)
