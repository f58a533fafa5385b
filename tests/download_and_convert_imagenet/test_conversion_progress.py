from __future__ import annotations

import re
import sys

import pytest

from common import progress as progress_module
from download_and_convert_imagenet.progress import ConversionProgress

LINE = r"1,500 of 2,000 images, [\d,]+ images/s, [\d,]+ MB/s, 0:00:00 left"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(progress_module, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress_module, "_SECONDS_BETWEEN_UPDATES", 0.0)
    monkeypatch.setenv("COLUMNS", "160")


def advance():
    with ConversionProgress() as progress:
        progress.start(2000, 10_000_000)
        progress.advance(1500, 10_000_000)
        progress.log("done")


def test_a_terminal_has_one_line_that_is_rewritten(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    advance()
    pattern = rf"converting 2,000 images, 10\.0 MB\n\r\x1b\[K{LINE}\r\x1b\[Kdone\n"
    assert re.fullmatch(pattern, capsys.readouterr().out)


def test_a_line_is_no_longer_than_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    advance()
    assert "\r\x1b[K1,500 of 2,000 imag\r" in capsys.readouterr().out


def test_the_end_clears_a_rewritten_line(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with ConversionProgress() as progress:
        progress.download(1_000_000, 2_000_000)
    assert capsys.readouterr().out == "\r\x1b[K1.0 of 2.0 MB\r\x1b[K"


def test_elsewhere_it_prints_lines(capsys):
    advance()
    pattern = rf"converting 2,000 images, 10\.0 MB\n{LINE}\ndone\n"
    assert re.fullmatch(pattern, capsys.readouterr().out)
