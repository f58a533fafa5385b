"""The promise of a cluster: workers are the towers of one process, on the same global batches.

Every worker is a process of its own on this machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmark_cnn.reporting import console, metrics_log
from checkpoints import best, store
from common.process import free_ports
from tests.benchmark_cnn.distribution import cluster_worker
from tests.conftest import ROOT

# Dropout is keyed on the tower, and synchronized batch norm sums over all towers.
NETWORK = {"batch_norm": "sync", "dropout": 0.3}
SAME_AT_ANY_NUMBER = {"batch_norm": "sync"}


def run_cluster(directory, *, workers, network=NETWORK, exit_code=0, **flags):
    """Trains with real processes; worker i sees only directory/i. All end with `exit_code`."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in free_ports(workers))
    started = []
    for index in range(workers):
        settings = {
            "network": network,
            "workers": workers,
            "variable_update": "collective_all_reduce",
            "worker_hosts": hosts,
            "task_index": index,
            "train_dir": str(directory / str(index)),
            **flags,
        }
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", cluster_worker.__name__, json.dumps(settings)],
                cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            )
        )  # fmt: skip
    try:
        outputs = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [exit_code] * workers, outputs
    return [out for out, _ in outputs]


def train_alone(directory, *, network=NETWORK, **flags):
    with console.routed_through(lambda line: None):
        cluster_worker.train(network=network, train_dir=str(directory), **flags)


def assert_same_run(directory, expected, rows=None):
    """The same losses, norms, accuracies and evaluations, and the same tensors at the end.

    `rows` are those of `directory`, if they are not its whole table.
    """
    got, wanted = (metrics_log.read_rows(d / "metrics.csv") for d in (directory, expected))
    got = got if rows is None else rows
    assert len(got) == len(wanted)
    assert len({row.get("total_loss") for row in wanted}) >= cluster_worker.STEPS
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(mine[name], value, rtol=1e-5, err_msg=name)
    tensors, reference = store.read(directory), store.read(expected)
    assert tensors.keys() == reference.keys()
    for name, value in reference.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(
            tensors[name], value, rtol=1e-5, atol=1e-5 * float(scale), err_msg=name
        )
    for name, value in (best.best_metrics(expected) or {}).items():
        if isinstance(value, float):
            np.testing.assert_allclose(best.best_metrics(directory)[name], value, rtol=1e-5)


def check_equal(tmp_path, *, workers, towers):
    outputs = run_cluster(tmp_path, workers=workers, num_gpus=towers)
    train_alone(tmp_path / "alone", num_gpus=workers * towers)
    assert_same_run(tmp_path / "0", tmp_path / "alone")
    rows = metrics_log.read_rows(tmp_path / "0" / "metrics.csv")
    norms = [row["gradient_norm"] for row in rows if "gradient_norm" in row]
    assert max(norms) > cluster_worker.EVERYTHING["gradient_clip"], "the clip has to do something"
    # The chief alone prints and writes.
    for index, output in enumerate(outputs[1:], 1):
        assert re.fullmatch(
            rf"Worker {index} of {workers}, 127.0.0.1:\d+; the chief is 127.0.0.1:\d+\n", output
        )
        assert not (tmp_path / str(index)).exists()


def test_two_workers_are_two_towers(tmp_path):
    check_equal(tmp_path, workers=2, towers=1)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "towers"), [(2, 2), (3, 1), (3, 2)])
def test_workers_are_towers(tmp_path, workers, towers):
    check_equal(tmp_path, workers=workers, towers=towers)


@pytest.mark.slow
def test_workers_change_the_size_of_their_images_together(tmp_path):
    """At step 3, of 50 images an epoch: 24 a step."""
    flags = {"image_size_schedule": "8:0,16:1"}
    run_cluster(tmp_path, workers=2, **flags)
    train_alone(tmp_path / "alone", num_gpus=2, **flags)
    assert_same_run(tmp_path / "0", tmp_path / "alone")
    rows = metrics_log.read_rows(tmp_path / "0" / "metrics.csv")
    assert [row["image_size"] for row in rows] == [8, 8, 8, 16, 16, 16]


@pytest.mark.slow
def test_a_run_resumes_on_another_number_of_workers(tmp_path):
    """The chief's directory alone holds the checkpoint: the workers share no disk."""
    run_cluster(tmp_path, workers=2, num_batches=2, network=SAME_AT_ANY_NUMBER)
    run_cluster(tmp_path, workers=3, num_batches=4, network=SAME_AT_ANY_NUMBER)
    train_alone(tmp_path / "0", network=SAME_AT_ANY_NUMBER, num_batches=6, num_gpus=2)
    train_alone(tmp_path / "alone", network=SAME_AT_ANY_NUMBER)
    tensors = store.read(tmp_path / "0")
    assert tensors["global_step"] == cluster_worker.STEPS
    for name, value in store.read(tmp_path / "alone").items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(
            tensors[name], value, rtol=1e-5, atol=1e-5 * float(scale), err_msg=name
        )
    assert not (tmp_path / "1").exists()


@pytest.mark.slow
@pytest.mark.parametrize("on_nonfinite", ["stop", "rollback"])
def test_all_workers_find_a_value_that_is_not_finite(tmp_path, on_nonfinite):
    """No line and no save by steps is due at that step: the chief saves by time."""
    run_cluster(
        tmp_path, workers=2, exit_code=4, on_nonfinite=on_nonfinite, learning_rate=1e38,
        gradient_clip=None, display_every=1000, eval_every_steps=None, save_model_steps=None,
        save_model_secs=1e-3, num_batches=1000,
    )  # fmt: skip


@pytest.mark.slow
def test_two_workers_rank_all_images_of_several_labels(tmp_path):
    """Mean average precision is of the whole set: it is no mean over workers."""
    flags = {"loss": "bce", "data_dir": "photos"}
    train_alone(tmp_path / "alone", **flags, num_gpus=2)
    run_cluster(tmp_path / "cluster", workers=2, **flags)
    assert_same_run(tmp_path / "cluster" / "0", tmp_path / "alone")
    rows = metrics_log.read_rows(tmp_path / "alone" / "metrics.csv")
    assert [row["global_step"] for row in rows if "eval_mean_average_precision" in row] == [4, 6]


@pytest.mark.slow
def test_workers_roll_back_together(tmp_path):
    """The NaN is in the share of the last worker; the chief alone has the checkpoint."""
    flags = {"bad_batch": 3, "on_nonfinite": "rollback", "eval_every_steps": None}
    outputs = run_cluster(tmp_path, workers=2, **flags)
    (line,) = [line for line in outputs[0].splitlines() if line.startswith("Rollback")]
    assert line.startswith("Rollback 1 to step 2, with the data that follow: total_loss")
    train_alone(tmp_path / "alone", num_gpus=2, **flags)
    assert_same_run(tmp_path / "0", tmp_path / "alone")
    # From step 2: the batch after it and the bad one came to nothing.
    seen = (cluster_worker.STEPS + 2) * cluster_worker.GLOBAL_BATCH
    assert store.read(tmp_path / "0")["examples_seen"] == seen
