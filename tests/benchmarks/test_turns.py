"""Sides of a comparison: what a side that fails tells."""

from __future__ import annotations

import pytest

from benchmarks import turns


def _fail(error: Exception):
    raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "MemoryError"),
        (ValueError(""), "ValueError"),
        (ValueError("no such size\nin detail"), "ValueError: no such size"),
    ],
)
def test_a_side_that_fails_tells_the_first_line(error, told):
    side = turns.Side(_fail, error)
    with pytest.raises(turns.SideFailed) as caught:
        side.take_turn()
    side.stop()
    assert str(caught.value) == told
