"""Asynchronous training with real processes: one worker is one process, two lose no update."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark_cnn.reporting import console, metrics_log
from checkpoints import store
from tests.benchmark_cnn.distribution import asynchronous_process
from tests.benchmark_cnn.distribution.test_workers_equal_one import assert_same_run

NETWORK = {"batch_norm": "tower", "dropout": 0.3}


def check_equal_to_one_process(tmp_path, **flags):
    processes = asynchronous_process.start(tmp_path / "one", network=NETWORK, **flags)
    with console.routed_through(lambda line: None):
        asynchronous_process.train(network=NETWORK, train_dir=str(tmp_path / "alone"), **flags)
    asynchronous_process.finish(processes)
    rows = metrics_log.read_rows(tmp_path / "one" / "metrics.csv")
    assert {row.get("staleness_max", 0.0) for row in rows} == {0.0}
    for row in rows:
        row.pop("staleness_mean", None), row.pop("staleness_max", None)
    assert_same_run(tmp_path / "one", tmp_path / "alone", rows)


@pytest.mark.slow
def test_one_worker_is_one_process(tmp_path):
    check_equal_to_one_process(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"optimizer": "rmsprop", "learning_rate": 0.01, "gradient_clip_mode": "value"},
        {"optimizer": "adam", "learning_rate": 0.01, "decoupled_weight_decay": True},
        {"optimizer": "lars", "learning_rate": 1.0, "learning_rate_schedule": "cosine"},
        {"optimizer": "lamb", "moving_average_start_epoch": 0.2},
        {
            "optimizer": "lion",
            "learning_rate_schedule": "plateau",
            "learning_rate_decay_factor": 0.5,
            "learning_rate_patience_epochs": 0.1,
        },
    ],
    ids=lambda flags: flags["optimizer"],
)
def test_one_worker_is_one_process_with_each_optimizer(tmp_path, flags):
    check_equal_to_one_process(tmp_path, **flags)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_lose_no_update_and_count_each_once(tmp_path):
    """The gradient is a constant, so that the weights are the number of updates times it."""
    flags = {
        "optimizer": "sgd", "learning_rate": 0.125, "weight_decay": 0.0, "gradient_clip": None,
        "moving_average_decay": None, "eval_every_steps": None, "save_model_steps": 150,
    }  # fmt: skip
    for steps in (300, 421):  # the second resumes
        processes = asynchronous_process.start(
            tmp_path, workers=2, servers=2, network="linear", num_batches=steps, **flags
        )
        lines = asynchronous_process.finish(processes)
        tensors = store.read(tmp_path)
        assert tensors["global_step"] == steps
        assert tensors["examples_seen"] == steps * asynchronous_process.FLAGS["batch_size"]
        for name, value in asynchronous_process.linear_weights(steps, 0.125).items():
            np.testing.assert_array_equal(tensors[name], value)
    assert any(line.startswith("Staleness:") for line in lines), lines
    rows = metrics_log.read_rows(tmp_path / "metrics.csv")
    assert max(row["staleness_max"] for row in rows) >= 1, "the workers took turns"
    assert all(row["staleness_mean"] <= row["staleness_max"] <= 10 for row in rows)
