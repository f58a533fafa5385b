"""What schedulers and terminals send, to a process that is in a long call into C."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from common import process
from common.errors import DataError, Stopped
from tests.conftest import ROOT

NAMES = ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU"]
# Its step is a call that no signal interrupts and that ends with a byte on stdin.
PROGRAM = f"""
import ctypes, signal, sys, time
from common import process
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


def line_of(stream, seconds=30.0):
    """The next line; a test fails instead of waiting for ever. Nothing may be buffered yet."""
    assert select.select([stream], [], [], seconds)[0], f"no line in {seconds} s"
    return stream.readline()


def start(prepare=listen):
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=prepare,
    )  # fmt: skip
    assert started.stdout is not None
    assert line_of(started.stdout) == "ready\n"
    return started


def test_each_is_acknowledged_within_a_second_and_the_step_finished():
    for name in NAMES:
        started = start()
        sent = time.monotonic()
        started.send_signal(signal.Signals[name])
        assert started.stderr is not None
        assert line_of(started.stderr).startswith(f"{name}: stopping after this step")
        assert time.monotonic() - sent < 1
        output, errors = started.communicate("x", timeout=30)
        assert (started.returncode, output, errors) == (75, f"saved after {name}\n", "")


def test_a_second_one_stops_at_once_and_the_same_request_twice_does_not():
    second, twice, limit = start(), start(), start()
    for started in (second, twice, twice):  # `timeout` signals a process and its group
        started.send_signal(signal.SIGTERM)
    limit.send_signal(signal.SIGXCPU)
    time.sleep(0.6)
    second.send_signal(signal.SIGINT)
    limit.send_signal(signal.SIGXCPU)  # the kernel repeats it
    assert second.wait(timeout=5) == 75
    assert second.communicate()[0] == ""
    assert twice.communicate("x", timeout=30)[0] == "saved after SIGTERM\n"
    assert limit.communicate("x", timeout=30)[0] == "saved after SIGXCPU\n"


def test_an_ignored_signal_stays_ignored():
    """As under nohup, and in the background of a script."""
    started = start(ignore)
    started.send_signal(signal.SIGHUP)
    started.send_signal(signal.SIGINT)
    assert started.communicate("x", timeout=30) == ("saved after None\n", "")
    assert started.returncode == 0


def test_a_terminal_that_is_closed_loses_nothing():
    """The signal comes with the end of its input; each later line would raise an error."""
    pid, terminal = pty.fork()
    if pid == 0:
        listen()
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM])
    assert select.select([terminal], [], [], 30)[0]
    assert b"ready" in os.read(terminal, 100)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 75


def send(name):
    os.kill(os.getpid(), signal.Signals[name])
    time.sleep(0.05)


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


def started_with_a_signal(*argv, **options):
    environment = {name: v for name, v in os.environ.items() if name != process.ALLOCATOR}
    return subprocess.Popen(
        [sys.executable, *argv],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=listen, **options,
    )  # fmt: skip


def test_a_signal_waits_for_its_handler_through_the_restart():
    program = started_with_a_signal("-c", HOLDS)
    assert program.communicate(timeout=60) == (
        "restarted\n",
        "stopped by SIGTERM while starting\n",
    )
    assert program.returncode == Stopped.exit_code


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_a_signal_during_the_imports_of_a_script_is_answered(script):
    program = started_with_a_signal("-X", "importtime", script, "--model=trivial")
    assert program.stderr is not None
    for line in program.stderr:  # as soon as a module of ours after common/ is there
        if "models.model_spec" in line or "benchmark_cnn.params" in line:
            program.send_signal(signal.SIGTERM)
            break
    lines = program.stderr.read().splitlines()
    assert program.wait(timeout=60) == Stopped.exit_code
    assert lines[-1] == "stopped by SIGTERM while starting"
    assert program.stdout is not None
    program.stdout.close()
    program.stderr.close()
