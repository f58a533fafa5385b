"""metrics.csv: exact numbers, one header, and a file that no kill and no resume can tell apart."""

import csv
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark_cnn.reporting.metrics_log import COLUMNS, MetricsLog, read_rows
from common.errors import DataError

ROOT = Path(__file__).resolve().parents[3]
HEADER = (
    "global_step,epoch,learning_rate,total_loss,cross_entropy,aux_cross_entropy,weight_decay,"
    "gradient_norm,top_1,top_5,eval_top_1,eval_top_5,eval_loss\n"
)


def report_of(step):
    """Awkward floats that depend on the step alone."""
    numbers = random.Random(step)
    return {
        "epoch": step / 7,
        "learning_rate": np.float32(0.1) * np.float32(0.97) ** step,
        "total_loss": numbers.gauss(0, 1) * 10 ** numbers.randint(-20, 20),
        "top_1": numbers.random(),
    }


def train(path, first, last, resume_from=None):
    """Report the steps first..last-1 and evaluate at every fifth."""
    with MetricsLog(path) as log:
        if resume_from is not None:
            log.rewind(resume_from)
        for step in range(first, last):
            log.append(step, **report_of(step))
            if step % 5 == 0:
                log.append(step, epoch=step / 7, eval_top_1=step / 100, eval_loss=1 / (1 + step))


def test_it_is_an_ordinary_csv(tmp_path):
    with MetricsLog(tmp_path / "metrics.csv") as log:
        log.append(10, epoch=0.5, total_loss=6.25, eval_loss=None)
        log.append(20, epoch=1.0, eval_top_1=0.125, eval_top_5=0.5, eval_loss=5.0)
    assert (tmp_path / "metrics.csv").read_text() == (
        f"{HEADER}10,0.5,,6.25,,,,,,,,,\n20,1.0,,,,,,,,,0.125,0.5,5.0\n"
    )
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["total_loss"] for row in rows] == ["6.25", ""]
    assert tuple(rows[0]) == COLUMNS


def test_a_step_that_is_reported_and_evaluated_has_one_row(tmp_path):
    """Also after a kill between the two: the resumed run fills the row that is there."""
    path = tmp_path / "metrics.csv"
    with MetricsLog(path) as log:
        log.append(10, epoch=0.5, total_loss=6.25, top_1=0.1)
    with MetricsLog(path) as log:
        log.rewind(10)
        log.append(10, epoch=0.5, eval_top_1=0.125, eval_top_5=0.5, eval_loss=5.0)
        log.append(11, total_loss=6.0)
    assert path.read_text() == (f"{HEADER}10,0.5,,6.25,,,,,0.1,,0.125,0.5,5.0\n11,,,6.0,,,,,,,,,\n")


def test_numbers_read_back_exactly(tmp_path):
    values = [0.1, np.float32(0.1), 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, np.float64(2) / 7]
    with MetricsLog(tmp_path / "metrics.csv") as log:
        for step, value in enumerate(values):
            log.append(step, total_loss=value)
    for row, value in zip(read_rows(tmp_path / "metrics.csv"), values, strict=True):
        assert np.float64(row["total_loss"]).tobytes() == np.float64(value).tobytes()


def test_what_is_not_a_number_is_kept(tmp_path):
    with MetricsLog(tmp_path / "metrics.csv") as log:
        log.append(1, total_loss=math.nan, gradient_norm=math.inf)
    (row,) = read_rows(tmp_path / "metrics.csv")
    assert math.isnan(row["total_loss"])
    assert row["gradient_norm"] == math.inf


def test_a_row_is_in_the_file_at_once(tmp_path):
    with MetricsLog(tmp_path / "metrics.csv") as log:
        log.append(1, total_loss=2.0)
        assert read_rows(tmp_path / "metrics.csv") == [{"global_step": 1, "total_loss": 2.0}]


def test_an_unknown_column_is_refused(tmp_path):
    with (
        MetricsLog(tmp_path / "metrics.csv") as log,
        pytest.raises(ValueError, match="images_per_sec"),
    ):
        log.append(1, images_per_sec=100.0)
    assert (tmp_path / "metrics.csv").read_text() == HEADER


@pytest.mark.parametrize("checkpoint", [0, 1, 9, 10, 11, 24])
@pytest.mark.parametrize("killed", [10, 11, 25])
def test_a_resumed_run_leaves_the_file_of_an_unbroken_one(tmp_path, checkpoint, killed):
    train(tmp_path / "unbroken.csv", 1, 31)
    train(tmp_path / "broken.csv", 1, killed + 1)
    resumed = min(checkpoint, killed)
    train(tmp_path / "broken.csv", resumed + 1, 31, resume_from=resumed)
    assert (tmp_path / "broken.csv").read_bytes() == (tmp_path / "unbroken.csv").read_bytes()


def test_a_file_cut_anywhere_is_repaired(tmp_path):
    """A kill while writing: whatever is left of the file, resuming gives the unbroken one."""
    path = tmp_path / "metrics.csv"
    train(path, 1, 4)
    whole = path.read_bytes()
    rows = [int(row["global_step"]) for row in read_rows(path)]
    assert rows == [1, 2, 3]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        complete = max(whole[:length].count(b"\n") - 1, 0)
        assert len(read_rows(path)) == complete
        train(path, complete + 1, 4, resume_from=complete)
        assert path.read_bytes() == whole


def test_a_killed_writer_leaves_whole_rows_or_a_repairable_end(tmp_path):
    path = tmp_path / "metrics.csv"
    program = (
        "import sys; from benchmark_cnn.reporting.metrics_log import MetricsLog\n"
        "log = MetricsLog(sys.argv[1])\n"
        "for step in range(10**9):\n"
        "    log.append(step, epoch=step / 7, total_loss=1 / (step + 1))\n"
        "    if step == 100: print('going', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with MetricsLog(path) as log:
        log.append(10**9)
    steps = [row["global_step"] for row in read_rows(path)]
    assert steps == [*range(len(steps) - 1), 10**9]
    assert len(steps) > 100


def test_reopening_changes_nothing(tmp_path):
    path = tmp_path / "metrics.csv"
    train(path, 1, 8)
    before = path.read_bytes()
    MetricsLog(path).close()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["metrics.csv"]


def test_a_rewind_that_dies_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    train(path, 1, 8)
    before = path.read_bytes()
    log = MetricsLog(path)

    def full_disk(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(DataError, match="No space left"):
        log.rewind(3)
    assert path.read_bytes() == before


def test_another_table_is_refused(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n1,2.0\n")
    with pytest.raises(DataError, match=r"metrics\.csv has other columns"):
        MetricsLog(path)
    assert path.read_text() == "step,loss\n1,2.0\n"


@pytest.mark.parametrize("line", ["2,0.5", "2,x,,,,,,,,,,,", "two,,,,,,,,,,,,", ""])
def test_damage_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / "metrics.csv"
    path.write_text(f"{HEADER}1,,,,,,,,,,,,\n{line}\n3,,,,,,,,,,,,\n")
    with pytest.raises(DataError, match="line 3, is damaged"):
        MetricsLog(path)


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "metrics.csv") == []


def test_a_full_disk_is_reported_in_a_line(tmp_path):
    line = rf"cannot write {tmp_path}/metrics\.csv: No space left on device; make room"
    log = MetricsLog(tmp_path / "metrics.csv")
    log.close()
    log._file = open("/dev/full", "a", encoding="ascii")  # noqa: SIM115
    with pytest.raises(DataError, match=line):
        log.append(1, epoch=0.5)
    with pytest.raises(DataError, match=line):  # The row is still in its buffer.
        log.close()
    (tmp_path / ".metrics.csv.partial").symlink_to("/dev/full")
    with pytest.raises(DataError, match=line):
        MetricsLog(tmp_path / "metrics.csv")
