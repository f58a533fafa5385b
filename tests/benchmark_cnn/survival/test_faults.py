"""What happens to files, disks and clocks under a run, each done for real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from checkpoints import store
from tests.benchmark_cnn.survival.test_non_finite import examples_with_nan, train
from tests.conftest import ROOT

COMMAND = [
    "train.py", "--model=lenet", "--data_name=digits", "--device=cpu", "--batch_size=8",
    "--display_every=5", "--save_model_steps=20", "--eval_every_steps=40", "--keep_checkpoints=2",
]  # fmt: skip


def start(train_dir, *flags, **settings):
    command = [sys.executable, *COMMAND, f"--train_dir={train_dir}", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **{**pipes, **settings})


@pytest.mark.slow
def test_logs_that_are_deleted_under_a_run(tmp_path, caplog, monkeypatch):
    """metrics.csv continues with the rows from then on; the weights are those of any run."""
    images, labels = examples_with_nan()
    train(tmp_path / "whole", images, labels, num_batches=6)
    caplog.clear()
    deleted = []

    def delete(line):
        if line.startswith("3\timages/sec"):
            for path in (tmp_path / "run").glob("*[!x]"):
                if "ckpt" not in path.name and path.is_file() and path.name != ".lock":
                    deleted.append(path.name)
                    path.unlink()

    from benchmark_cnn.reporting import console

    routed = console.routed_through
    monkeypatch.setattr(
        console, "routed_through", lambda write: routed(lambda line: (write(line), delete(line)))
    )
    train(tmp_path / "run", images, labels, num_batches=6, eval_every_steps=3)
    assert {"metrics.csv", "run.json"} <= set(deleted)
    warnings = [r.getMessage() for r in caplog.records if "was deleted" in r.getMessage()]
    assert len(warnings) == 1
    assert "metrics.csv was deleted: its rows continue at step" in warnings[0]
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] in (
        ["global_step", "3", "4", "5", "6"],
        ["global_step", "4", "5", "6"],
    )
    whole, run = store.read(tmp_path / "whole"), store.read(tmp_path / "run")
    assert not [name for name in whole if not np.array_equal(whole[name], run[name])]


@pytest.mark.slow
def test_a_clock_that_is_set_back_stops_no_saves(tmp_path, monkeypatch):
    """Nothing that decides reads the wall clock; an hour is lost in the middle of a run."""
    images, labels = examples_with_nan()
    clock, began = time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: clock() - 3600 * (time.monotonic() - began > 0.5))
    train(tmp_path, images, labels, num_batches=4, eval_every_steps=2)
    assert store.latest(tmp_path) == str(tmp_path / "model.ckpt-4")


def test_a_signal_while_starting_or_tracing_saves_nothing_wrong_and_exits_75(tmp_path):
    """At once, in the imports; later, in the first trace; each leaves a directory that resumes."""
    for beginning in (None, "Step\tImg/sec"):
        with start(tmp_path / "run", "--num_batches=20") as run:
            assert run.stdout is not None
            if beginning is None:
                # From its restart on; before that the interpreter itself has just begun.
                while b"GLIBC_TUNABLES" not in Path(f"/proc/{run.pid}/environ").read_bytes():
                    time.sleep(0.01)
                run.terminate()
            for line in run.stdout:
                if beginning and line.startswith(beginning):
                    time.sleep(0.5)  # in the trace
                    run.terminate()
            errors = run.stderr.read() if run.stderr else ""
        assert run.returncode == 75, errors
        assert "Traceback" not in errors
        assert "stopped by SIGTERM" in errors
        if beginning:
            step = re.search(r"at step (\d+) of 20", errors)
            saved = store.latest(tmp_path / "run")
            assert step is not None
            assert int(step[1]) == (0 if saved is None else store.global_step(saved))


@pytest.mark.slow
def test_killed_in_the_middle_of_saves(tmp_path):
    """Three times, when the folder of a save is there; then it ends with the unbroken weights."""
    with start(tmp_path / "whole", "--num_batches=100", "--save_model_steps=5") as whole:
        whole.communicate()
    interrupted = 0
    for _ in range(3):
        with start(tmp_path / "run", "--num_batches=100", "--save_model_steps=5") as run:
            began = time.monotonic()
            while run.poll() is None and time.monotonic() - began < 120:
                if any((tmp_path / "run").glob(".saving-*")):
                    run.kill()
        interrupted += any((tmp_path / "run").glob(".saving-*"))
        assert store.latest(tmp_path / "run") is None or interrupted
    assert interrupted
    with start(tmp_path / "run", "--num_batches=100", "--save_model_steps=5") as run:
        _, errors = run.communicate()
    assert run.returncode == 0, errors
    whole, got = store.read(tmp_path / "whole"), store.read(tmp_path / "run")
    assert not [name for name in whole if not np.array_equal(whole[name], got[name])]


FULL = """
mount -t tmpfs -o size=40m tmpfs {disk} || exit 99
{python} {command} --train_dir={disk}/run --num_batches=2000 2>{disk}.err >/dev/null &
until ls {disk}/run/model.ckpt-20.index >/dev/null 2>&1; do sleep 0.05; done
dd if=/dev/zero of={disk}/fill bs=1k 2>/dev/null
wait $!; echo full $?
rm {disk}/fill
{python} {command} --train_dir={disk}/run --num_batches=60 >{disk}.out 2>&1; echo room $?
cp -r {disk}/run {disk}.run
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux namespaces")
def test_a_disk_that_fills_up_under_a_run(tmp_path):
    """A real file system of 40 MB in a namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = FULL.format(disk=disk, python=sys.executable, command=" ".join(COMMAND))
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode and "full" not in done.stdout:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    assert done.stdout.split("\n")[:2] == ["full 3", "room 0"], done.stderr
    errors = (tmp_path / "disk.err").read_text()
    assert "No space left on device" in errors
    assert "internal error" not in errors
    assert "Resuming from" in (tmp_path / "disk.out").read_text()
    with start(tmp_path / "whole", "--num_batches=60") as whole:
        whole.communicate()
    expected, got = store.read(tmp_path / "whole"), store.read(tmp_path / "disk.run")
    assert not [name for name in expected if not np.array_equal(expected[name], got[name])]
    assert os.listdir(disk) == []
