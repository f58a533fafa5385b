"""The launcher of this machine: real processes, their output, their ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.imported_libraries import IMPORT_TIME, installed_ones

HANG_SECS = 300

# A stand-in for train.py that starts at once; `act` is what each worker does. What one worker waits
# for is a file that another one makes, or that the launcher has noticed its end.
PROGRAM = """
import os, signal, subprocess, sys, time
index = next(int(a.partition("=")[2]) for a in sys.argv if a.startswith("--task_index="))
directory = {directory!r}
def make(name, text=""):
    path = os.path.join(directory, name)
    with open(path + ".new", "w") as file: file.write(text)
    os.rename(path + ".new", path)
def wait_for(name):
    path = os.path.join(directory, name)
    while not os.path.exists(path): time.sleep(0.01)
    return open(path).read()
def end(name, number):
    make(name, str(os.getpid()))
    os.kill(os.getpid(), number)
def wait_for_end(name):
    # A process that has ended keeps its number until the launcher has asked for its exit code.
    process = wait_for(name)
    while os.path.exists("/proc/" + process): time.sleep(0.01)
def start(number):
    path = os.path.join(directory, str(index))
    with open(path, "a") as file: file.write("x")
    return os.path.getsize(path) == number
def stop(*_):
    os.write(1, b"saved\\n")
    os._exit(75)
{act}
"""


@pytest.fixture
def launch(tmp_path):
    """Starts the launcher on a program; returns its Popen."""
    running = []

    def start(act, *flags, launcher=("-m", "launch.local")):
        program = tmp_path / "program.py"
        program.write_text(PROGRAM.format(act=act, directory=str(tmp_path)))
        argv = [sys.executable, *launcher, *flags, "--", str(program)]
        running.append(
            subprocess.Popen(
                argv, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def ended(process):
    out, err = process.communicate(timeout=HANG_SECS)
    return process.returncode, out.splitlines(), err.splitlines()


def wait_for_lines(process, *wanted):
    """Reads lines of stdout until all `wanted` were among them."""
    lines = []
    while not set(wanted) <= set(lines):
        line = process.stdout.readline()
        assert line, lines
        lines.append(line.rstrip("\n"))
    return lines


def is_running(pid):
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_gone(pids, seconds=HANG_SECS):
    deadline = time.monotonic() + seconds
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process is left over"
        time.sleep(0.05)


def test_lines_of_all_workers_are_told_apart(launch):
    act = "print('I am', index); print('a warning', file=sys.stderr); sys.stdout.write('no end')"
    code, out, err = ended(launch(act, "--workers=3"))
    assert code == 0
    assert sorted(out) == sorted(
        f"[{i}] {text}" for i in range(3) for text in (f"I am {i}", "no end")
    )
    assert sorted(err) == [f"[{i}] a warning" for i in range(3)]


# It waits for the cause of a failure as long as this machine takes.
PATIENT = """
import sys
from launch import local
local._CAUSE_SECS = 300
sys.exit(local.main(sys.argv[1:]))
"""


def test_the_first_failure_stops_all_and_is_shown(launch):
    """Worker 2 ends by itself with 69, since it has lost worker 1: that is not the cause."""
    act = """
signal.signal(signal.SIGTERM, stop)
if index == 0:
    make("listens")
    time.sleep(600)
if index == 2:
    wait_for("listens")
    make("lost", str(os.getpid()))
    os._exit(69)
wait_for_end("lost")
print("error: the data are damaged", file=sys.stderr)
sys.exit(3)
"""
    flags = ("--workers=3", "--max_restarts=2", "--grace_secs=300")
    code, out, err = ended(launch(act, *flags, launcher=("-c", PATIENT)))
    assert code == 3
    assert out == ["[0] saved"]
    assert err[-2:] == [
        "launch: worker 1 failed first, with exit code 3",
        "launch:   error: the data are damaged",
    ]


def test_what_does_not_stop_is_killed_with_its_children(launch):
    act = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
print("child", child.pid, flush=True)
make(f"started {index}")
wait_for("started 0"), wait_for("started 1")
if index == 1: os.kill(os.getpid(), signal.SIGKILL)
time.sleep(100)
"""
    process = launch(act, "--workers=2", "--grace_secs=0.5")
    children = [int(process.stdout.readline().split()[-1]) for _ in range(2)]
    code, _, err = ended(process)
    assert code == 128 + signal.SIGKILL
    assert "launch: worker 1 failed first, with signal SIGKILL" in err
    assert_gone(children)


def test_all_start_again_after_a_loss_and_not_after_the_last_allowed_one(launch):
    act = """
if index == 0 and start(3):
    make("done")
    print("done")
    sys.exit(0)
if index == 0: os.kill(os.getpid(), signal.SIGKILL)
signal.signal(signal.SIGTERM, lambda *_: os._exit(69))
wait_for("done")
"""
    code, out, err = ended(launch(act, "--workers=2", "--max_restarts=5"))
    assert code == 0
    assert out == ["[0] done"]
    assert [line for line in err if "again" in line] == [
        "launch: starting all workers again (1 of 5)",
        "launch: starting all workers again (2 of 5)",
    ]
    code, _, err = ended(launch("os._exit(1)", "--workers=2", "--max_restarts=1"))
    assert code == 1
    assert sum("again" in line for line in err) == 1


@pytest.mark.parametrize("code", [2, 3, 4, 75])
def test_an_end_that_would_come_again_restarts_nothing(launch, code):
    ended_with, _, err = ended(launch(f"os._exit({code})", "--workers=2", "--max_restarts=3"))
    assert ended_with == code
    assert not any("again" in line for line in err)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_goes_to_every_worker(launch, name):
    act = f"""
signal.signal(signal.{name}, stop)
print("ready", flush=True)
time.sleep(600)
"""
    process = launch(act, "--workers=2", "--max_restarts=3")
    wait_for_lines(process, "[0] ready", "[1] ready")
    process.send_signal(getattr(signal, name))
    code, out, _ = ended(process)
    assert code == 75
    assert sorted(out) == ["[0] saved", "[1] saved"]


def test_no_worker_outlives_a_launcher_that_is_killed(launch):
    process = launch("print(os.getpid(), flush=True); time.sleep(600)", "--workers=2")
    pids = [int(process.stdout.readline().split()[-1]) for _ in range(2)]
    process.kill()
    assert_gone(pids)


def test_a_reader_that_has_gone_ends_all(launch):
    act = """
while True:
    print(os.getpid(), flush=True)
    time.sleep(0.05)
"""
    process = launch(act, "--workers=2")
    pids = {int(process.stdout.readline().split()[-1]) for _ in range(20)}
    process.stdout.close()
    assert process.wait(timeout=HANG_SECS) == 128 + 13
    assert_gone(pids)


def test_mistakes_are_one_line(launch):
    for flags, line in (
        (
            ["--workers=0"],
            r"error: argument --workers: '0' is not a whole number of 1 or more \(.*",
        ),
        (["--workers=2"], r"error: there is no command to start: add -- train.py and its flags"),
        (["--", "train.py", "--num_gpus=2"], r"error: leave --num_gpus out of the command.*"),
        (["--", "./no_such_program"], r"error: cannot start ./no_such_program: No such file.*"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "launch.local", *flags],
            cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECS,
        )  # fmt: skip
        assert done.returncode == 2
        assert re.fullmatch(line + "\n", done.stderr), done.stderr


def test_help_comes_at_once():
    done = subprocess.run(
        [sys.executable, *IMPORT_TIME, "-m", "launch.local", "--help"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert "--gpus_per_worker" in done.stdout
    assert installed_ones(done.stderr) <= {"absl", "_distutils_hack"}


# A chief that ends well once `act` has made a file; servers that end with it.
ASYNCHRONOUS = """
job = next(a.partition("=")[2] for a in sys.argv if a.startswith("--job_name="))
if job == "ps":
    wait_for("end")
    sys.exit(0)
"""


def test_a_lost_worker_of_an_asynchronous_run_is_started_again_alone(launch):
    act = f"""{ASYNCHRONOUS}
if job == "chief":
    wait_for("again")
    make("end")
elif index == 1 and not start(2):
    os.kill(os.getpid(), 9)
elif index == 1:
    make("again")
wait_for("end")
"""
    flags = ("--workers=2", "--parameter_servers=1", "--max_restarts=1")
    code, out, err = ended(launch(act, *flags))
    assert (code, err) == (
        0,
        ["launch: worker 1 failed, with signal SIGKILL: starting it again (1 of 1)"],
    ), out


def test_an_asynchronous_run_goes_on_without_a_worker_but_not_without_all(launch):
    act = f"""{ASYNCHRONOUS}
if job == "worker" and index == 0:
    end("one", 9)
if job == "worker":
    wait_for_end("one")
    os.kill(os.getpid(), 9)
wait_for("end")
"""
    code, _, err = ended(launch(act, "--workers=2", "--parameter_servers=1", "--grace_secs=1"))
    assert code == 128 + signal.SIGKILL
    assert err == [
        "launch: worker 0 failed, with signal SIGKILL: the others go on without it",
        "launch: worker 1 failed first, with signal SIGKILL",
    ]


def test_the_loss_of_a_parameter_server_starts_all_again(launch):
    """Then the chief ends, too, with the code of a lost process: that is not the cause."""
    act = f"""{ASYNCHRONOUS.replace('if job == "ps":', 'if job == "ps" and start(2):')}
if job == "ps":
    wait_for("again")
    end("lost", 9)
if job == "chief" and not os.path.exists(os.path.join(directory, "again")):
    make("again")
    wait_for_end("lost")
    sys.exit(69)
if job == "chief":
    make("end")
wait_for("end")
"""
    flags = ("--workers=1", "--parameter_servers=1", "--max_restarts=1", "--grace_secs=1")
    code, out, err = ended(launch(act, *flags))
    assert code == 0, (out, err)
    assert err == [
        "launch: ps 0 failed first, with signal SIGKILL",
        "launch: starting all workers again (1 of 1)",
    ]
