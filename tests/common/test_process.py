from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from common import process
from tests.conftest import ROOT

CHATTER = (
    "2026-01-31 12:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN is on.",
    "2026-01-31 12:00:00.123456: E external/local_xla/cuda_fft.cc:477] no factory",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "E0000 00:00:1700000000.123456   12345 cuda_dnn.cc:8310] no factory",
)
REASON = "libpython3.so: wrong ELF class"
# It replaces TensorFlow, which cannot be made to fail.
MODULE = """
import os
os.write(2, {text!r})
{last_line}
"""


@pytest.fixture
def start(tmp_path):
    """Run start_tensorflow() where "import tensorflow" prints lines and ends with `last_line`."""

    def run(last_line, **environment):
        text = "\n".join((*CHATTER[:2], REASON, *CHATTER[2:], "")).encode()
        (tmp_path / "tensorflow.py").write_text(MODULE.format(text=text, last_line=last_line))
        variables = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
        code = "from common import process; process.start_tensorflow()"
        return subprocess.run(
            [sys.executable, "-c", f"{code}; print('ready')"],
            cwd=ROOT, capture_output=True, text=True, timeout=300,
            env={**variables, "PYTHONPATH": str(tmp_path), **environment},
        )  # fmt: skip

    run.directory = tmp_path
    return run


def test_startup_messages_are_left_out(start):
    done = start("constant = abs")
    assert (done.stdout, done.stderr) == ("ready\n", f"{REASON}\n")


def test_the_reason_of_a_failed_import_is_printed(start):
    done = start("raise ImportError('cannot load')")
    lines = done.stderr.splitlines()
    assert lines[0] == REASON
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "ImportError: cannot load"
    assert not set(CHATTER) & set(lines)


def test_tensorflow_does_not_find_what_no_command_uses(start):
    """Afterwards everyone does."""
    done = start("try:\n    import matplotlib\nexcept ImportError:\n    constant = abs")
    assert (done.stdout, done.stderr) == ("ready\n", f"{REASON}\n")
    code = "from common import process; process.start_tensorflow(); import gc, matplotlib"
    (start.directory / "tensorflow.py").write_text("constant = abs")
    path = {**os.environ, "PYTHONPATH": str(start.directory)}
    check = f"{code}; print(gc.isenabled())"
    done = subprocess.run(
        [sys.executable, "-c", check],
        cwd=ROOT,
        env=path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "True\n"


def test_log_level_0_shows_every_line(start):
    done = start("constant = abs", TF_CPP_MIN_LOG_LEVEL="0")
    assert done.stdout == "ready\n"
    assert set(done.stderr.splitlines()) == {*CHATTER, REASON}


def test_free_ports_are_none_of_outgoing_connections():
    ports = process.free_ports(50)
    assert len(set(ports)) == 50
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        assert max(ports) < min(client.getsockname()[1], listener.getsockname()[1])


@pytest.mark.parametrize(("cores", "has_two_arenas"), [(2, True), (8, True), (96, False)])
def test_threads_of_many_cores_do_not_share_two_arenas(cores, has_two_arenas):
    tunables = process.defaults(cores, "x86_64")[process.ALLOCATOR].split(":")
    assert ("glibc.malloc.arena_max=2" in tunables) == has_two_arenas
    assert "glibc.malloc.hugetlb=1" in tunables


@pytest.mark.parametrize(("machine", "value"), [("x86_64", "1"), ("aarch64", None)])
def test_the_faster_kernels_are_on_where_tensorflow_has_them(machine, value):
    """Elsewhere TensorFlow decides."""
    assert process.defaults(2, machine).get(process.ONEDNN) == value
