"""The progress bar on a real pseudo-terminal, and nothing of it anywhere else."""

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark_cnn.reporting import console, progress

ROOT = Path(__file__).resolve().parents[3]
LINE = "501\timages/sec: 146.6 +/- 0.3 (jitter = 0.6)\t7.255" + "\t0.001" * 20
# By its clock a step takes 0.6 s. It draws after each, as rich's own thread does twice a second.
PROGRAM = f"""
import rich.console
from benchmark_cnn.reporting import console
from benchmark_cnn.reporting import progress
now = 0.0
rich.console.monotonic = lambda: now
with progress.ProgressBar(1000, 500, gpu_memory_bytes=lambda: 3 * 2**29) as bar:
    for step in (501, 502, 503):
        console.log({LINE!r})
        bar.update(step, images_per_sec=1234.56, data_wait_share=0.031)
        bar._bar and bar._bar.refresh()
        now += 0.6
console.log("total")
"""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_on_a_terminal(term="xterm", columns=120):
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        stdout=slave,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": term, "COLUMNS": str(columns), "LINES": "24"},
    )
    os.close(slave)
    output = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # The other side has closed.
            break
        if not part:
            break
        output += part
    os.close(master)
    assert process.communicate()[1] == b""
    assert process.returncode == 0
    return output.decode()


@pytest.fixture(scope="module")
def output():
    return run_on_a_terminal()


class TestTerminal:
    def test_it_shows_step_speed_data_wait_and_memory(self, output):
        text = ESCAPES.sub("", output)
        assert re.search(
            r"502/1000 .*50% 0:04:59 left \| 1234\.6 images/s \| data wait 3% \| ", text
        )
        assert re.search(r"memory \d+\.\d GiB, GPU 1\.5 GiB", text)

    def test_the_time_left_is_unknown_after_the_first_call(self, output):
        assert re.search(r"501/1000 .*50% 1234\.6 images/s", ESCAPES.sub("", output))

    def test_it_counts_from_the_resumed_step(self, output):
        assert "500/1000" in output
        assert not re.search(r"\b0/1000", output)

    def test_lines_stay_whole_and_tabs_stay_tabs(self, output):
        assert ESCAPES.sub("", output).count(f"{LINE}\r\n") == 3

    def test_it_clears_the_bar(self, output):
        # The bar's line is erased before the next line is printed, and the cursor shown again.
        assert output.endswith("\x1b[2Ktotal\r\n")
        assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")


def test_a_narrow_terminal_keeps_the_bar_in_one_line():
    bars = [
        part
        for part in re.split(r"[\r\n]+", ESCAPES.sub("", run_on_a_terminal(columns=40)))
        if "/1000 " in part
    ]
    assert bars
    assert max(map(len, bars)) <= 40


def test_a_terminal_that_cannot_move_its_cursor_gets_lines_only():
    assert run_on_a_terminal(term="dumb") == f"{LINE}\r\n" * 3 + "total\r\n"


def test_a_pipe_gets_lines_only():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        capture_output=True,
        check=True,
        env=os.environ | {"TERM": "xterm", "FORCE_COLOR": "1"},
    )
    assert result.stdout.decode() == f"{LINE}\n" * 3 + "total\n"


def test_an_error_takes_the_bar_down(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    stream.isatty = lambda: True
    with contextlib.suppress(RuntimeError), progress.ProgressBar(10, stream=stream):
        console.log("above the bar")
        raise RuntimeError
    console.log("below")
    assert "above the bar\n" in stream.getvalue()
    assert capsys.readouterr().out == "below\n"


def test_what_is_not_known_yet_is_left_out():
    nothing = {"images_per_sec": float("nan"), "data_wait_share": float("nan")}
    assert progress.status_text(memory="memory 2.0 GiB", **nothing) == "memory 2.0 GiB"


# In a process of its own: what others in this one allocate and free would count.
GROWS = """
import mmap
from benchmark_cnn.reporting import progress
size, part = 64 * 2**20, bytes(2**20)
before = progress.process_memory_bytes()
with mmap.mmap(-1, size) as block:  # an allocator may hand out pages that were used before
    for _ in range(size // len(part)):
        block.write(part)
    print((progress.process_memory_bytes() - before) / size)
"""


def test_process_memory_grows_by_what_is_allocated():
    done = subprocess.run(
        [sys.executable, "-c", GROWS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(1, rel=0.2)
