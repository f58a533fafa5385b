"""What schedulers and terminals send, to a process that is in a long call into C."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys

import pytest

from common import process
from common.errors import DataError, Stopped
from tests.conftest import ROOT

NAMES = ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU"]
# Its step is a call that no signal interrupts and that ends with a byte on stdin. Its clock shows
# the times that it was started with, one at each look, and says that it was looked at.
PROGRAM = f"""
import ctypes, os, signal, sys, types
from common import process
times = iter(map(float, sys.argv[1:]))
def monotonic():
    os.write(1, b"looked\\n")
    return next(times)
process.time = types.SimpleNamespace(monotonic=monotonic)
with process.StopSignal() as stop:
    for name in {NAMES}:
        signal.siginterrupt(signal.Signals[name], False)
    print("ready", flush=True)
    ctypes.CDLL(None).read(0, ctypes.create_string_buffer(1), 1)
    print("saved after", stop.requested, flush=True)
sys.exit(75 if stop.requested else 0)
"""


def listen():
    """The tests themselves may run under nohup."""
    for name in NAMES:
        signal.signal(signal.Signals[name], signal.SIG_DFL)


def ignore():
    for name in ("SIGHUP", "SIGINT"):
        signal.signal(signal.Signals[name], signal.SIG_IGN)


HANG_SECS = 120


def line_of(stream, seconds=HANG_SECS):
    """The next line; a test fails instead of waiting for ever. Nothing may be buffered yet."""
    assert select.select([stream], [], [], seconds)[0], f"no line in {seconds} s"
    return stream.readline()


def start(prepare=listen, times=(0.0,)):
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, times)],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=prepare,
    )  # fmt: skip
    assert started.stdout is not None
    assert line_of(started.stdout) == "ready\n"
    return started


def acknowledged(started, name):
    """Sends a signal and waits until its line and the look at the clock are there."""
    started.send_signal(signal.Signals[name])
    assert line_of(started.stdout) == "looked\n"
    assert line_of(started.stderr).startswith(f"{name}: stopping after this step")
    return started


def test_each_is_acknowledged_within_the_step_and_the_step_finished():
    for name in NAMES:
        started = acknowledged(start(), name)  # the step waits for its byte until here
        output, errors = started.communicate("x", timeout=HANG_SECS)
        assert (started.returncode, output, errors) == (75, f"saved after {name}\n", "")


def test_a_second_one_stops_at_once_and_the_same_request_twice_does_not():
    """`timeout` signals a process and then its group; a person takes longer."""
    second = acknowledged(start(times=(7.0, 7.4)), "SIGTERM")
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=HANG_SECS) == 75
    assert second.communicate()[0] == "looked\n"
    twice = acknowledged(start(times=(7.0, 7.2)), "SIGTERM")
    limit = acknowledged(start(times=(7.0, 8.0)), "SIGXCPU")  # the kernel repeats it
    for started, name in ((twice, "SIGTERM"), (limit, "SIGXCPU")):
        started.send_signal(signal.Signals[name])
        assert line_of(started.stdout) == "looked\n"
        assert started.communicate("x", timeout=HANG_SECS)[0] == f"saved after {name}\n"
        assert started.returncode == 75


def test_an_ignored_signal_stays_ignored():
    """As under nohup, and in the background of a script."""
    started = start(ignore)
    started.send_signal(signal.SIGHUP)
    started.send_signal(signal.SIGINT)
    assert started.communicate("x", timeout=HANG_SECS) == ("saved after None\n", "")
    assert started.returncode == 0


def test_a_terminal_that_is_closed_loses_nothing():
    """The signal comes with the end of its input; each later line would raise an error."""
    pid, terminal = pty.fork()
    if pid == 0:
        listen()
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, "0"])
    assert select.select([terminal], [], [], HANG_SECS)[0]
    assert b"ready" in os.read(terminal, 100)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 75


def send(name):
    os.kill(os.getpid(), signal.Signals[name])  # Python serves it before it returns


def test_where_there_is_nothing_to_finish_it_raises():
    with process.StopSignal(raises=True), pytest.raises(Stopped, match="SIGUSR1 while starting"):
        send("SIGUSR1")
    with process.StopSignal(raises=True) as outer, process.StopSignal() as stop:
        assert stop is outer
        send("SIGUSR2")
        assert stop.requested == "SIGUSR2"
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


def with_a_stop(name, raises, error):
    """Stops while a library starts; C code makes another error of it, without the cause."""
    with process.StopSignal(raises=raises):
        with contextlib.suppress(Stopped, KeyboardInterrupt):
            send(name)
        raise error


@pytest.mark.parametrize(
    ("name", "expected"), [("SIGTERM", Stopped), ("SIGINT", KeyboardInterrupt)]
)
def test_what_a_library_makes_of_it_is_a_stop(name, expected):
    with pytest.raises(expected):
        with_a_stop(name, True, ImportError("numpy.core.multiarray failed to import"))


def test_an_error_that_is_not_of_the_stop_stays_itself():
    with pytest.raises(DataError, match="no disk"):
        with_a_stop("SIGTERM", True, DataError("no disk"))
    with pytest.raises(ValueError, match="its own"):
        with_a_stop("SIGTERM", False, ValueError("its own"))


HOLDS = """
import os, signal, sys
from common import commands, process
process.hold_signals()
if process.ALLOCATOR not in os.environ:
    os.kill(os.getpid(), signal.SIGTERM)  # while the program imports
process.restart_with_defaults()
print("restarted", flush=True)
def run():
    with process.StopSignal(raises=True):
        print("never printed")
sys.exit(commands.run(run))
"""


def started_with_a_signal(*argv, **variables):
    environment = {name: v for name, v in os.environ.items() if name != process.ALLOCATOR}
    return subprocess.Popen(
        [sys.executable, *argv],
        cwd=ROOT, env={**environment, **variables}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=listen,
    )  # fmt: skip


def test_a_signal_waits_for_its_handler_through_the_restart():
    program = started_with_a_signal("-c", HOLDS)
    assert program.communicate(timeout=HANG_SECS) == (
        "restarted\n",
        "stopped by SIGTERM while starting\n",
    )
    assert program.returncode == Stopped.exit_code


# Python imports it before the script; it stops the restarted script when that imports ours.
STOPS_IN_IMPORTS = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "models.registry" and "{process.ALLOCATOR}" in os.environ:
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_a_signal_during_the_imports_of_a_script_is_answered(script, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(STOPS_IN_IMPORTS)
    program = started_with_a_signal(script, "--model=trivial", PYTHONPATH=str(tmp_path))
    output, errors = program.communicate(timeout=HANG_SECS)
    assert (output, errors) == ("", "stopped by SIGTERM while starting\n")
    assert program.returncode == Stopped.exit_code
