from __future__ import annotations

import re

import pytest

from download_and_convert_imagenet.progress import ConversionProgress


@pytest.fixture
def terminal(monkeypatch):
    """What rich takes for a terminal, wide enough for everything."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "160")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_the_bar_goes_by_bytes_and_counts_images(terminal, capsys):
    with ConversionProgress() as progress:
        progress.start(2000, 10_000_000)
        progress.advance(1500, 1_000_000)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert "converting 2,000 images, 10.0 MB" in shown
    assert re.search(r" 10% 1,500 of 2,000 images [\d,]+ images/s, [\d,]+ MB/s", shown)


def test_elsewhere_it_is_a_line_from_time_to_time(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr("download_and_convert_imagenet.progress._SECONDS_BETWEEN_LINES", 0.0)
    with ConversionProgress() as progress:
        progress.start(2000, 10_000_000)
        progress.advance(1500, 10_000_000)
    line = capsys.readouterr().out.splitlines()[1]
    assert re.fullmatch(r"1,500 of 2,000 images, .* images/s, .* MB/s, 0:00:00 left", line)
