"""`--learning_rate_schedule=plateau`: the rule of Keras' callback, and runs that resume."""

from __future__ import annotations

import dataclasses
import os
import signal
import types

import keras
import numpy as np
import pytest

from benchmark_cnn import training
from benchmark_cnn.objective import plateau
from benchmark_cnn.params.training_params import LearningRateParams
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console, metrics_log
from checkpoints import store
from common.errors import Stopped
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples

FLAGS = LearningRateParams(learning_rate_decay_factor=0.5, learning_rate_patience_epochs=3.0)
EXAMPLES = 40  # 5 steps


@pytest.mark.parametrize("seed", range(4))
def test_reductions_are_those_of_keras(seed):
    """No two accuracies are equal: the loss, which Keras does not see, decides nothing."""
    accuracies = np.random.default_rng(seed).permutation(np.linspace(0.1, 0.9, 40))
    theirs = keras.callbacks.ReduceLROnPlateau(
        monitor="top_1", mode="max", factor=0.5, patience=3, min_delta=0.0
    )
    theirs.set_model(types.SimpleNamespace(optimizer=keras.optimizers.SGD(1.0)))  # type: ignore[arg-type]
    theirs.on_train_begin()
    ours = plateau.create()
    lines = []
    for epoch, accuracy in enumerate(accuracies):
        theirs.on_epoch_end(epoch, {"top_1": accuracy})
        result = {"top_1": accuracy, "loss": 1.0}
        line = ours.observe((epoch + 1) * 7, result, FLAGS, patience=3 * 7, initial=1.0)
        lines += [line] if line else []
        assert float(theirs.model.optimizer.learning_rate) == float(ours.scale)
    assert len(lines) == -np.log2(ours.scale) > 3
    assert lines[0].startswith("Learning rate multiplied by 0.5 after step ")
    assert lines[0].endswith("no better evaluation in 3 epochs")


def test_as_accurate_with_a_lower_loss_is_better_and_nan_is_worse():
    ours = plateau.create()
    for step, (top_1, loss) in enumerate([(0.5, 1.0), (0.5, 0.9), (0.5, np.nan), (np.nan, 0.1)]):
        result = {"top_1": top_1, "loss": loss}
        assert ours.observe(step, result, FLAGS, patience=3, initial=1.0) is None
    assert int(ours.since) == 1
    np.testing.assert_array_equal(ours.best, [0.5, -0.9])
    result = {"top_1": 0.5, "loss": 0.9}
    assert ours.observe(4, result, FLAGS, patience=3, initial=1.0) is not None
    assert (int(ours.since), float(ours.scale)) == (4, 0.5)


def test_at_the_minimum_nothing_is_said_to_change():
    """Rates 1, 0.5, 0.3 (not 0.25), as Keras has them."""
    ours, lines = plateau.create(), []
    flags = dataclasses.replace(FLAGS, minimum_learning_rate=0.3)
    for step in range(1, 6):
        result = {"top_1": 0.5, "loss": 1.0}
        lines.append(ours.observe(step, result, flags, patience=1, initial=1.0))
    assert [bool(line) for line in lines] == [False, True, True, False, False]
    assert lines[1].startswith("Learning rate multiplied by 0.5 after step 2: ")
    assert lines[2].startswith("Learning rate lowered to its minimum, 0.3, after step 3: ")


def test_a_run_resumed_with_another_factor_keeps_its_reductions(tmp_path):
    """Two of 0.5; the resumed run has the next ones of 0.125."""
    train(tmp_path, num_epochs=4.0)
    train(tmp_path, num_epochs=6.0, learning_rate_decay_factor=0.125)
    expected = [-40.0] * 10 + [-41.0] * 5 + [-42.0] * 5
    assert rates(tmp_path) == [*expected, *[-45.0] * 5, *[-48.0] * 5]


def train(train_dir, on_line=lambda line: None, **flags):
    """Four epochs at rates at which no weight changes: no evaluation is better than the first."""
    flags = {
        "learning_rate": 2.0**-40, "learning_rate_schedule": "plateau", "optimizer": "sgd",
        "learning_rate_decay_factor": 0.5, "learning_rate_patience_epochs": 1.0,
        "num_epochs": 4.0, "eval_every_epochs": 1.0, "display_every": 1, "num_warmup_batches": 0,
        "batch_size": 8 // flags.get("num_gpus", 1), **flags,
    }  # fmt: skip
    params = make_params(device="cpu", train_dir=str(train_dir), **flags)
    with console.routed_through(on_line):
        training.train(params, Spec(ConvNetwork), ArrayData(*random_examples(EXAMPLES)))


def train_until(train_dir, beginning, times, **flags):
    """Stops, as a signal does, where a line has begun so `times` times before."""
    lines = []

    def on_line(line):
        if line.startswith(beginning):
            lines.append(line)
            if len(lines) == times + 1:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        train(train_dir, on_line, **flags)


def rates(train_dir):
    """The exponent of the rate of each step."""
    rows = metrics_log.read_rows(train_dir / "metrics.csv")
    return [float(np.log2(row["learning_rate"])) for row in rows]


@pytest.mark.parametrize("towers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_rates_follow_evaluations_and_a_resumed_run_is_the_unbroken_one(tmp_path, towers):
    train(tmp_path / "whole", num_gpus=towers)
    expected = [-40.0] * 10 + [-41.0] * 5 + [-42.0] * 5
    assert rates(tmp_path / "whole") == expected

    # Within the evaluation that reduces the rate, and when the next one is reported.
    train_until(tmp_path / "resumed", "Running evaluation at global_step 10", 0, num_gpus=towers)
    train_until(tmp_path / "resumed", "Resuming training", 1, num_gpus=towers)
    train(tmp_path / "resumed", num_gpus=towers)
    assert rates(tmp_path / "resumed") == expected
    got, wanted = (store.read(tmp_path / name) for name in ("resumed", "whole"))
    assert got.keys() == wanted.keys() > {plateau.BEST, plateau.SINCE, plateau.SCALE}
    assert not [name for name in wanted if not np.array_equal(got[name], wanted[name])]


def test_a_rollback_takes_no_reduction_back(tmp_path):
    """The checkpoint of step 10 does not know the evaluation that was made of it."""
    images, labels = random_examples(15 * 8)
    images = images.astype(np.float32)
    images[10 * 8] = np.nan
    lines = []
    flags = {"on_nonfinite": "rollback", "num_epochs": None, "num_batches": 12}
    flags |= {"eval_every_epochs": None, "eval_every_steps": 5}
    params = make_params(
        device="cpu", train_dir=str(tmp_path), batch_size=8, display_every=1,
        learning_rate=2.0**-40, learning_rate_schedule="plateau", optimizer="sgd",
        learning_rate_decay_factor=0.5, learning_rate_patience_epochs=0.3, **flags,
    )  # fmt: skip
    with console.routed_through(lines.append):
        training.train(params, Spec(ConvNetwork), ArrayData(images, labels))
    assert [line for line in lines if line.startswith("Rollback 1 to step 10")]
    assert rates(tmp_path) == [-40.0] * 10 + [-41.0] * 2


def test_a_run_that_was_started_with_another_schedule_begins_at_its_own_rate(tmp_path):
    other = {"learning_rate_schedule": "constant", "learning_rate_decay_factor": None}
    train_until(tmp_path, "3\timages/sec", 0, learning_rate_patience_epochs=10.0, **other)
    train(tmp_path)
    assert rates(tmp_path) == [-40.0] * 10 + [-41.0] * 5 + [-42.0] * 5
