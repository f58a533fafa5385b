"""What a cluster loses when a worker is killed, stopped or cut off: docs/reliability.md.

`python -m pytest -s tests/test_cluster_faults.py` prints the rows of that table.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from checkpoints import store
from common import process
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
SAVE_EVERY = 50
# The last save may still be in the background; it began when the one before it was whole.
MOST_LOST = 2 * SAVE_EVERY
STEPS = 400
# lenet on digits: 0.2 s a save, some milliseconds a step.
FLAGS = [
    "--device=cpu", "--model=lenet", "--data_name=digits", "--batch_size=8", "--display_every=10",
    f"--save_model_steps={SAVE_EVERY}", "--eval_every_steps=200", "--num_warmup_batches=0",
    "--learning_rate=0.01", "--moving_average_decay=0.9", "--save_model_secs=0",
]  # fmt: skip
STEP = re.compile(r"(\d+)\timages/sec")


@dataclass
class Worker:
    """A real worker, its lines, and when it ended."""

    process: subprocess.Popen
    lines: list[str] = field(default_factory=list)
    ended_at: float | None = None

    @property
    def step(self):
        """The last step that it printed."""
        return max((int(m[1]) for line in self.lines if (m := STEP.match(line))), default=0)


def start(index, hosts, train_dir, data_dir, *, prefix=(), steps=STEPS):
    return begin(
        *prefix, sys.executable, "train.py", *FLAGS, f"--data_dir={data_dir}",
        f"--train_dir={train_dir}", f"--num_batches={steps}",
        "--variable_update=collective_all_reduce", f"--worker_hosts={hosts}",
        f"--task_index={index}",
    )  # fmt: skip


def begin(*argv):
    """Starts a process whose lines are kept."""
    started = subprocess.Popen(
        argv, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    worker = Worker(started)

    def read():
        assert started.stdout is not None
        for line in started.stdout:
            worker.lines.append(line.rstrip("\n"))
        started.wait()
        worker.ended_at = time.monotonic()

    threading.Thread(target=read, daemon=True).start()
    return worker


def wait_until(condition: Callable[[], bool], workers, seconds=180.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, [worker.lines[-15:] for worker in workers]
        time.sleep(0.02)


def wait_for_ends(workers, seconds):
    wait_until(lambda: all(worker.ended_at is not None for worker in workers), workers, seconds)
    return [worker.process.returncode for worker in workers]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Digits, and the checkpoint of the unbroken run of two workers."""
    directory = tmp_path_factory.mktemp("digits")
    run(directory / "unbroken", directory / "data")
    return directory / "data"


def run(train_dir, data_dir):
    """Starts or resumes the run and waits for its end; returns the chief's lines."""
    if not data_dir.exists():
        from benchmark_cnn.params.data_params import DataParams
        from preprocessing import registry

        registry.open_dataset(DataParams(data_name="digits", data_dir=str(data_dir)))
    hosts = ",".join(f"127.0.0.1:{port}" for port in process.free_ports(2))
    workers = [start(index, hosts, train_dir, data_dir) for index in range(2)]
    try:
        assert wait_for_ends(workers, 240) == [0, 0], [worker.lines for worker in workers]
    finally:
        for worker in workers:
            worker.process.kill()
    return workers[0].lines


def at_step(step):
    return lambda workers: workers[0].step >= step


def at_line(beginning):
    return lambda workers: any(line.startswith(beginning) for line in workers[0].lines)


IN_TRAINING = at_step(120)
# what, when, the signal and the worker it goes to, the exit codes of worker 0 and 1, within seconds
FAULTS = {
    "kill -9 the chief": (IN_TRAINING, signal.SIGKILL, 0, (-9, 69), 60),
    "kill -9 a worker": (IN_TRAINING, signal.SIGKILL, 1, (69, -9), 60),
    "SIGSTOP a worker": (IN_TRAINING, signal.SIGSTOP, 1, (69, None), 90),
    "SIGTERM a worker in training": (IN_TRAINING, signal.SIGTERM, 1, (75, 75), 60),
    "SIGTERM the chief in an evaluation": (at_line("Running e"), signal.SIGTERM, 0, (75, 75), 60),
    "SIGTERM a worker in the first trace": (at_line("Step"), signal.SIGTERM, 1, (75, 75), 60),
}  # fmt: skip


# They resume to the end; the others have no end that they could reach before the fault does.
RESUMED = ("kill -9 the chief", "SIGTERM the chief in an evaluation")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_no_more_than_the_steps_since_the_last_checkpoint(fault, tmp_path, data_dir):
    when, number, target, codes, limit = FAULTS[fault]
    hosts = ",".join(f"127.0.0.1:{port}" for port in process.free_ports(2))
    steps = STEPS if fault in RESUMED else 100_000
    workers = [start(index, hosts, tmp_path / "run", data_dir, steps=steps) for index in range(2)]
    try:
        wait_until(lambda: when(workers), workers)
        struck = time.monotonic()
        workers[target].process.send_signal(number)
        expected = [worker for worker, code in zip(workers, codes, strict=True) if code is not None]
        wait_for_ends(expected, limit)
    finally:
        for worker in workers:
            worker.process.kill()
    seconds = max(worker.ended_at - struck for worker in expected)
    got = [worker.process.poll() if worker in expected else None for worker in workers]
    assert tuple(got) == codes, [worker.lines[-10:] for worker in workers]
    if 69 in codes:
        named = workers[codes.index(69)].lines[-1]
        assert re.match(rf"error: worker {target} \(127.0.0.1:\d+\) is gone or cannot be", named)
    done = workers[0].step
    is_saved = store.latest(tmp_path / "run") is not None
    saved = int(store.read(tmp_path / "run")["global_step"]) if is_saved else 0
    lost = max(0, done - saved)
    assert lost <= MOST_LOST if 75 not in codes else lost == 0
    print(f"\n| {fault} | {lost} | {seconds:.1f} s | {' and '.join(map(str, got))} |")
    if fault in RESUMED:
        lines = run(tmp_path / "run", data_dir)
        assert any(f"global_step {saved}" in line or f"-{saved}" in line for line in lines), lines
        assert_same_end(tmp_path / "run", data_dir.parent / "unbroken")


def assert_same_end(directory, expected):
    tensors, wanted = store.read(directory), store.read(expected)
    assert tensors["global_step"] == wanted["global_step"] == STEPS
    for name, value in wanted.items():
        scale = float(np.abs(value).max())
        np.testing.assert_allclose(tensors[name], value, rtol=1e-5, atol=1e-5 * scale, err_msg=name)


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True).returncode == 0


@pytest.fixture
def two_machines():
    """Two network namespaces with a cable between them; names of the namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip")
    names = [f"cut{os.getpid()}{side}" for side in "ab"]
    made = all(ip("netns", "add", name) for name in names)
    made = made and ip(
        "link", "add", "cable", "netns", names[0], "type", "veth",
        "peer", "name", "cable", "netns", names[1],
    )  # fmt: skip
    for number, name in enumerate(names, 1):
        made = made and ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
        made = made and ip("-n", name, "link", "set", "cable", "up")
        made = made and ip("-n", name, "link", "set", "lo", "up")
    try:
        if not made:
            pytest.skip("this machine makes no network namespaces")
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


@pytest.mark.timeout(900)
def test_a_cut_network_ends_both_sides(two_machines, tmp_path, data_dir):
    hosts = "10.77.0.1:5000,10.77.0.2:5000"
    workers = [
        start(
            index, hosts, tmp_path / f"run{index}", data_dir,
            prefix=("ip", "netns", "exec", name), steps=100_000,
        )
        for index, name in enumerate(two_machines)
    ]  # fmt: skip
    try:
        wait_until(lambda: workers[0].step >= 120, workers)
        struck = time.monotonic()
        assert ip("-n", two_machines[0], "link", "set", "cable", "down")
        codes = wait_for_ends(workers, 120)
    finally:
        for worker in workers:
            worker.process.kill()
    assert codes == [69, 69], [worker.lines[-10:] for worker in workers]
    seconds = max(worker.ended_at - struck for worker in workers if worker.ended_at is not None)
    lost = workers[0].step - int(store.read(tmp_path / "run0")["global_step"])
    assert lost <= MOST_LOST
    print(f"\n| network cut | {lost} | {seconds:.1f} s | {codes} |")
