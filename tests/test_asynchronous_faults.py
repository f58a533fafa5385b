"""What an asynchronous run loses when one of its processes does: docs/reliability.md.

`python -m pytest -s tests/test_asynchronous_faults.py` prints the rows of that table.
"""

from __future__ import annotations

import signal
import sys
import time

import pytest

from checkpoints import store
from common import process
from tests.test_cluster_faults import FLAGS, MOST_LOST, begin, wait_for_ends, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ENDLESS = 100_000
CHIEF, WORKERS, SERVERS = ("chief", 0), [("worker", 0), ("worker", 1)], [("ps", 0), ("ps", 1)]


class Run:
    """The processes of a run of two workers and two parameter servers."""

    def __init__(self, directory, steps=ENDLESS):
        self.directory, self.steps = directory, steps
        hosts = [f"127.0.0.1:{port}" for port in process.free_ports(4)]
        self._hosts = [f"--worker_hosts={','.join(hosts[:2])}", f"--ps_hosts={','.join(hosts[2:])}"]
        self.processes = {task: self._begin(task) for task in (CHIEF, *WORKERS, *SERVERS)}

    def _begin(self, task):
        job, index = task
        return begin(
            sys.executable, "train.py", *FLAGS, f"--data_dir={self.directory.parent / 'data'}",
            f"--train_dir={self.directory}", f"--num_batches={self.steps}",
            "--variable_update=parameter_server", *self._hosts, f"--job_name={job}",
            f"--task_index={index}",
        )  # fmt: skip

    def start_again(self, task):
        self.processes[task] = self._begin(task)

    @property
    def chief(self):
        return self.processes[CHIEF]

    def wait_for(self, condition, seconds=240):
        wait_until(condition, [self.chief], seconds)

    def wait_for_line(self, part):
        self.wait_for(lambda: any(part in line for line in self.chief.lines))

    def send(self, task, number):
        self.processes[task].process.send_signal(number)
        return time.monotonic()

    def ends(self, seconds=120, without=()):
        """Waits for the ends; returns the exit codes by task."""
        left = [worker for task, worker in self.processes.items() if task not in without]
        wait_for_ends(left, seconds)
        return {task: worker.process.poll() for task, worker in self.processes.items()}

    def saved(self):
        return int(store.read(self.directory)["global_step"])

    def kill(self):
        for worker in self.processes.values():
            worker.process.kill()


@pytest.fixture
def begin_run(tmp_path):
    """Starts a run, or resumes it."""
    from benchmark_cnn.params.data_params import DataParams
    from preprocessing import registry

    registry.open_dataset(DataParams(data_name="digits", data_dir=str(tmp_path / "data")))
    runs = []

    def start(**settings):
        runs.append(Run(tmp_path / "run", **settings))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


def error_of(process):
    """Returns its line of an error; TensorFlow may write others after it."""
    (line,) = [line for line in process.lines if line.startswith("error:")]
    return line


def report(what, run, codes, struck, lost):
    seconds = max(worker.ended_at or struck for worker in run.processes.values()) - struck
    listed = ", ".join(f"{job} {code}" for (job, _), code in codes.items())
    print(f"\n| {what} | {lost} | {seconds:.1f} s | {listed} |")


def test_a_killed_worker_costs_a_step_and_comes_back(begin_run):
    run = begin_run(steps=1500)
    run.wait_for(lambda: run.chief.step >= 120)
    struck = run.send(WORKERS[1], signal.SIGKILL)
    run.wait_for_line("Worker 1 (127.0.0.1:")
    said = time.monotonic()
    (line,) = [line for line in run.chief.lines if line.startswith("Worker 1")]
    assert "is gone: training goes on with the other 1" in line
    step = run.chief.step
    run.wait_for(lambda: run.chief.step >= step + 100)  # by the other one alone
    run.start_again(WORKERS[1])
    run.wait_for_line("is there again")
    codes = run.ends(240)
    assert set(codes.values()) == {0}, run.chief.lines
    assert run.saved() == 1500
    assert any(line.startswith("Staleness:") for line in run.chief.lines), run.chief.lines
    print(f"\n| kill -9 a worker | its step | {said - struck:.1f} s until the line | {codes} |")


@pytest.mark.parametrize("fault", ["kill -9 a parameter server", "kill -9 the chief"])
def test_the_loss_of_a_server_or_of_the_chief_ends_all(fault, begin_run):
    run = begin_run()
    run.wait_for(lambda: run.chief.step >= 120)
    task = CHIEF if "chief" in fault else SERVERS[1]
    struck = run.send(task, signal.SIGKILL)
    codes = run.ends()
    assert codes == {t: -9 if t == task else 69 for t in codes}, run.chief.lines
    if task != CHIEF:
        assert error_of(run.chief).startswith("error: parameter server 1 (127.0.0.1:")
    lost = run.chief.step - run.saved()
    assert 0 <= lost <= MOST_LOST
    report(fault, run, codes, struck, lost)
    saved = run.saved()
    again = begin_run(steps=saved + 100)
    assert set(again.ends(240).values()) == {0}, again.chief.lines
    assert any(f"at step {saved}" in line for line in again.chief.lines)
    assert again.saved() == saved + 100


@pytest.mark.parametrize("task", [CHIEF, SERVERS[0]], ids=["chief", "server"])
def test_a_signal_to_the_chief_or_a_server_saves_and_ends_all(task, begin_run):
    run = begin_run()
    run.wait_for(lambda: run.chief.step >= 120)
    struck = run.send(task, signal.SIGTERM)
    codes = run.ends()
    assert set(codes.values()) == {75}, (codes, run.chief.lines)
    assert run.saved() >= run.chief.step
    assert any(f"at step {run.saved()} of {ENDLESS}" in line for line in run.chief.lines)
    report(f"SIGTERM {task[0]}", run, codes, struck, 0)


def test_a_signal_to_all_saves_as_well(begin_run):
    """As a scheduler sends it: the workers finish what the chief waits for."""
    run = begin_run()
    run.wait_for(lambda: run.chief.step >= 120)
    for task in run.processes:
        struck = run.send(task, signal.SIGTERM)
    codes = run.ends()
    assert set(codes.values()) == {75}, (codes, run.chief.lines)
    assert run.saved() >= run.chief.step
    report("SIGTERM all", run, codes, struck, 0)


def test_a_worker_that_is_asked_to_stop_leaves_the_others(begin_run):
    run = begin_run(steps=1500)
    run.wait_for(lambda: run.chief.step >= 120)
    run.send(WORKERS[0], signal.SIGTERM)
    run.wait_for_line("Worker 0 (127.0.0.1:")
    codes = run.ends(240)
    assert codes.pop(WORKERS[0]) == 75
    assert set(codes.values()) == {0}, run.chief.lines[-15:]
    assert run.saved() == 1500


def test_a_worker_that_hangs_ends_all(begin_run):
    run = begin_run()
    run.wait_for(lambda: run.chief.step >= 120)
    struck = run.send(WORKERS[1], signal.SIGSTOP)
    codes = run.ends(without=[WORKERS[1]])
    assert codes == {t: None if t == WORKERS[1] else 69 for t in codes}, run.chief.lines
    assert error_of(run.chief).startswith("error: worker 1 (127.0.0.1:")
    report("SIGSTOP a worker", run, codes, struck, run.chief.step - run.saved())
