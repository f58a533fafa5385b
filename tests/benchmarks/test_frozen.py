"""The benchmark of a frozen backbone: its ratio, and that it runs."""

from __future__ import annotations

import pytest

from benchmarks.own_photos import frozen


def test_the_ratio_is_taken_within_a_round(capsys):
    speeds = {frozen.FULL: [10.0, 20.0, 40.0], frozen.FROZEN: [30.0, 80.0, 80.0]}
    rows = frozen.table(speeds)
    assert rows[1].split()[-3:] == ["20.0", "10.0", "40.0"]
    assert rows[3].split()[5:8] == ["3.00", "2.00", "4.00"]


@pytest.mark.slow
def test_it_runs(capsys):
    arguments = "--model=lenet --image_size=28 --batch_size=4 --steps=1 --rounds=2"
    assert frozen.main(arguments.split()) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("frozen backbone / full training")
    assert float(last.split()[5]) > 0
