"""What happens to files, disks and clocks under a run, each done for real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from checkpoints import store
from tests.benchmark_cnn.survival.test_non_finite import examples_with_nan, train
from tests.conftest import ROOT

FLAGS = [
    "--model=lenet", "--data_name=digits", "--device=cpu", "--batch_size=8",
    "--display_every=5", "--save_model_steps=20", "--eval_every_steps=40", "--keep_checkpoints=2",
]  # fmt: skip


def start(train_dir, *flags, program=("train.py",), **settings):
    command = [sys.executable, *program, *FLAGS, f"--train_dir={train_dir}", *flags]
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


# Python imports it before the script, which it stops in the middle of TensorFlow's import.
STOPS_IN_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "tensorflow.python.framework.ops":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Finder())
"""
# train.py with its own start, which stops itself when it first traces a tower.
STOPS_IN_TRACE = """
import os, signal, sys
from common import process
process.restart_with_defaults()
import train
from benchmark_cnn.step.tower import Tower

def compute(*args, **options):
    Tower.compute = whole
    os.kill(os.getpid(), signal.SIGTERM)
    return whole(*args, **options)

whole, Tower.compute = Tower.compute, compute
sys.exit(train.main(sys.argv[1:]))
"""


def test_a_signal_while_starting_or_tracing_saves_nothing_wrong_and_exits_75(tmp_path):
    """In the imports; later, in the first trace; each leaves a directory that resumes."""
    (tmp_path / "sitecustomize.py").write_text(STOPS_IN_IMPORT)
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with start(tmp_path / "run", "--num_batches=20", env=variables) as run:
        _, errors = run.communicate()
    assert (run.returncode, errors) == (75, "stopped by SIGTERM while starting\n")
    program = ("-c", STOPS_IN_TRACE)
    with start(tmp_path / "run", "--num_batches=20", program=program) as run:
        _, errors = run.communicate()
    assert run.returncode == 75, errors
    assert "Traceback" not in errors
    assert "stopped by SIGTERM at step 1 of 20; the same command resumes" in errors
    assert store.global_step(store.latest(tmp_path / "run")) == 1


# train.py, which kills itself when the folder of its second save is there and half a file in it.
KILLS_ITSELF = """
import os, signal, sys
from common import process
process.restart_with_defaults()
import train
from checkpoints import bundle

def write(prefix, tensors):
    saves.append(prefix)
    whole(prefix, tensors)
    if len(saves) == 2:
        data = bundle.files(prefix)[".data-00000-of-00001"]
        os.truncate(data, data.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

saves, whole, bundle.write = [], bundle.write, write
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_saves(tmp_path):
    """Three times; then it ends with the unbroken weights."""
    flags = ("--num_batches=100", "--save_model_steps=5")
    with start(tmp_path / "whole", *flags) as whole:
        whole.communicate()
    for last in (5, 10, 15):
        with start(tmp_path / "run", *flags, program=("-c", KILLS_ITSELF)) as run:
            _, errors = run.communicate()
        assert run.returncode == -signal.SIGKILL, errors
        assert any((tmp_path / "run").glob(".saving-*"))
        assert store.global_step(store.latest(tmp_path / "run")) == last
    with start(tmp_path / "run", *flags) as run:
        _, errors = run.communicate()
    assert run.returncode == 0, errors
    whole, got = store.read(tmp_path / "whole"), store.read(tmp_path / "run")
    assert not [name for name in whole if not np.array_equal(whole[name], got[name])]


# train.py, which fills its disk after its checkpoint of step 40.
FILLS_THE_DISK = """
import contextlib, os, sys
from common import process
process.restart_with_defaults()
import train
from benchmark_cnn.reporting import console

def write(line):
    print(line, flush=True)
    if line.startswith("45\\timages/sec"):
        with contextlib.suppress(OSError), open(os.environ["FILL"], "wb", buffering=0) as file:
            while True:
                file.write(bytes(1024))

with console.routed_through(write):
    sys.exit(train.main(sys.argv[1:]))
"""
FULL = """
mount -t tmpfs -o size=40m tmpfs {disk} || exit 99
FILL={disk}/fill {python} {disk}.py {flags} --train_dir={disk}/run --num_batches=2000 \\
  2>{disk}.err >/dev/null
echo full $?
rm {disk}/fill
{python} train.py {flags} --train_dir={disk}/run --num_batches=60 >{disk}.out 2>&1; echo room $?
cp -r {disk}/run {disk}.run
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux namespaces")
def test_a_disk_that_fills_up_under_a_run(tmp_path):
    """A real file system of 40 MB in a namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "disk.py").write_text(FILLS_THE_DISK)
    script = FULL.format(disk=disk, python=sys.executable, flags=" ".join(FLAGS))
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
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
