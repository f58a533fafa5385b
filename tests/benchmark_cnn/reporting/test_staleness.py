"""The staleness of asynchronous steps, on the console and in metrics.csv."""

from __future__ import annotations

import pytest

from benchmark_cnn.reporting import metrics_log
from benchmark_cnn.reporting.metrics_log import COLUMNS, STALENESS, MetricsLog, read_rows
from benchmark_cnn.reporting.staleness import Staleness


def test_each_reader_gets_what_came_since_its_last_question():
    staleness = Staleness()
    for updates in (0, 2):
        staleness.add(updates)
    assert staleness.since("line") == (1.0, 2)
    staleness.add(5)
    assert staleness.since("row") == (pytest.approx(7 / 3), 5)
    staleness.add(1)
    assert staleness.since("line") == (3.0, 5)
    assert staleness.since("row") == (1.0, 1)
    assert staleness.over_all() == (2.0, 5)


def test_a_table_gets_the_columns_when_a_run_goes_on_asynchronously(tmp_path):
    path = tmp_path / "metrics.csv"
    with MetricsLog(path) as log:
        log.append(1, total_loss=2.5)
    with MetricsLog(path, (*COLUMNS, *STALENESS)) as log:
        log.append(2, total_loss=1.5, staleness_mean=0.5, staleness_max=3)
    with MetricsLog(path) as log:  # and keeps them
        log.append(2, eval_top_1=0.5)
        log.append(3, total_loss=1.0)
    assert path.read_text().splitlines()[0] == ",".join((*COLUMNS, *STALENESS))
    assert read_rows(path) == [
        {"global_step": 1, "total_loss": 2.5},
        {"global_step": 2, "total_loss": 1.5, "staleness_mean": 0.5, "staleness_max": 3,
         "eval_top_1": 0.5},
        {"global_step": 3, "total_loss": 1.0},
    ]  # fmt: skip


def test_other_columns_are_refused_still(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(",".join((*COLUMNS, "other")) + "\n")
    with pytest.raises(metrics_log.DataError, match="other columns"):
        read_rows(path)
