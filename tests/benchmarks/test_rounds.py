"""Rounds of a comparison: their order, speeds, and candidates that fail."""

from __future__ import annotations

import time

import pytest

from benchmarks import rounds
from benchmarks.rounds import Speed, measure_speeds, stream_candidate


def _fail(error: Exception):
    raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "MemoryError"),
        (ValueError(""), "ValueError"),
        (ValueError("no such size\nin detail"), "ValueError: no such size"),
    ],
)
def test_a_candidate_that_fails_reports_the_first_line(error, message):
    candidate = rounds.CandidateProcess(_fail, error)
    with pytest.raises(rounds.CandidateFailed) as caught:
        candidate.run()
    candidate.stop()
    assert str(caught.value) == message


def _constant(value):
    return lambda: value


def test_a_candidate_process_returns_its_result():
    candidate = rounds.CandidateProcess(_constant, (1.5, "x"))
    assert candidate.run() == (1.5, "x")
    assert candidate.seconds() > 0
    candidate.stop()


def test_speed_of_a_known_iterator(monkeypatch):
    """By the clocks a batch of 32 takes 10 ms, and 4 ms of a processor."""
    wall, processor = [0.0], [0.0]

    def batches():
        while True:
            wall[0] += 0.01
            processor[0] += 0.004
            yield None

    monkeypatch.setattr(time, "perf_counter", lambda: wall[0])
    monkeypatch.setattr(time, "process_time", lambda: processor[0])
    speed = stream_candidate(batches(), batch_size=32)(1.0)
    assert speed.per_sec == pytest.approx(3200)
    assert speed.per_core == pytest.approx(8000)
    assert 1.0 <= wall[0] <= 1.03


def test_every_round_begins_with_another_candidate():
    order = []

    def candidate(name):
        def run(secs):
            order.append(name)
            return Speed(len(order), secs)

        return run

    speeds = measure_speeds({name: candidate(name) for name in "abc"}, rounds=4, secs=0.5)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab" + "abc"  # the first is not counted
    assert [speed.per_sec for speed in speeds["b"]] == [5, 7, 12, 14]
