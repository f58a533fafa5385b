"""A NaN ends a run with a report of its images, or takes it back to its last checkpoint."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from benchmark_cnn import training
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console, metrics_log
from checkpoints import store
from common.errors import NonFiniteError, UsageError
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples

BATCH = 8


def examples_with_nan(*steps, count=48):
    """Float images, of which the last one of each of these batches (from 0) has a NaN."""
    images, labels = random_examples(count)
    images = images.astype(np.float32)
    for step in steps:
        images[(step + 1) * BATCH - 1, 0, 0, 0] = np.nan
    return images, labels


def train(train_dir, images, labels, **flags):
    """Trains on two towers; returns the printed lines."""
    lines: list[str] = []
    params = make_params(
        device="cpu", num_gpus=2, batch_size=BATCH // 2, train_dir=str(train_dir),
        save_model_steps=2, display_every=1, learning_rate=0.1, moving_average_decay=0.9, **flags,
    )  # fmt: skip
    spec = Spec(lambda: ConvNetwork(batch_norm="tower"))
    with console.routed_through(lines.append):
        training.train(params, spec, ArrayData(images, labels))
    return lines


def test_a_rollback_trains_as_if_the_bad_batch_did_not_exist(tmp_path):
    images, labels = examples_with_nan(2)
    lines = train(tmp_path / "a", images, labels, num_batches=5, on_nonfinite="rollback")
    (rollback,) = [line for line in lines if line.startswith("Rollback")]
    assert "Rollback 1 to step 2, with the data that follow: total_loss" in rollback
    kept = np.r_[0 : 2 * BATCH, 3 * BATCH : 6 * BATCH]
    train(tmp_path / "b", images[kept], labels[kept], num_batches=5)
    got, expected = store.read(tmp_path / "a"), store.read(tmp_path / "b")
    assert (got.pop("examples_seen"), expected.pop("examples_seen")) == (6 * BATCH, 5 * BATCH)
    assert got.keys() == expected.keys()
    assert not [name for name in got if not np.array_equal(got[name], expected[name])]
    rows = [metrics_log.read_rows(tmp_path / run / "metrics.csv") for run in "ab"]
    losses = [[(row["global_step"], row["total_loss"]) for row in run] for run in rows]
    assert losses[0] == losses[1]


def test_rollbacks_that_do_not_help_end_the_run(tmp_path):
    """All batches from the third on are bad; the first step's checkpoint is a target, too."""
    images, labels = examples_with_nan(0, 3, 4, 5, 6, count=56)
    with pytest.raises(NonFiniteError, match="3 rollbacks to step 2 have not helped: lower"):
        train(tmp_path, images, labels, num_batches=50, on_nonfinite="rollback")
    assert store.global_step(tmp_path) == 2
    values = store.read(tmp_path)
    assert all(np.isfinite(value).all() for value in values.values())


def test_the_report_lists_the_images_since_the_last_finite_report(tmp_path):
    images, labels = examples_with_nan(2)
    with pytest.raises(NonFiniteError) as error:
        train(tmp_path, images, labels, num_batches=5, save_summaries_steps=2)
    path = tmp_path / "nonfinite-step-3.csv"
    expected = r"at step 3 \(learning rate 0.1, loss nan, gradient norm nan\), images listed in "
    assert error.match(expected + str(path))
    with path.open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["step", "file", "record"]
    # Step 3 saw the examples 16 to 23; the last of them is the culprit.
    assert rows[1:] == [["3", "arrays", str(number)] for number in range(16, 24)]


def test_a_rollback_needs_checkpoints():
    with pytest.raises(UsageError, match="rollback needs --train_dir"):
        make_params(on_nonfinite="rollback")
