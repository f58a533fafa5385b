"""Speeds that are compared: every side works in turn, and a ratio is taken within a round.

A machine that slows down for a while then slows all sides down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

# What was prepared while the others worked comes for nothing: a part of every turn is not measured.
_UNMEASURED_SHARE = 0.25


@dataclass(frozen=True)
class Speed:
    """Examples per second, and per second of processor time: what one core does.

    The second hardly depends on who else is on the machine.
    """

    per_sec: float
    per_core: float


Side = Callable[[float], Speed]
"""Works for about so many seconds and tells its speed."""


def take_turns(sides: Mapping[str, Side], *, rounds: int, secs: float) -> dict[str, list[Speed]]:
    """The speeds of every side in every round; each round begins with another side."""
    speeds: dict[str, list[Speed]] = {name: [] for name in sides}
    names = list(sides)
    for name in names:  # starts threads and processes, and fills caches
        sides[name](secs)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            speeds[name].append(sides[name](secs))
    return speeds


def stream_side(batches: Iterator, batch_size: int) -> Side:
    """The side that takes batches of an endless iterator and does nothing with them."""

    def turn(secs: float) -> Speed:
        _take(batches, secs * _UNMEASURED_SHARE)
        before = time.process_time()
        num_batches, seconds = _take(batches, secs * (1 - _UNMEASURED_SHARE))
        return speed_of(num_batches * batch_size, seconds, time.process_time() - before)

    return turn


def speed_of(num_examples: int, seconds: float, processor_secs: float) -> Speed:
    """The speed of so many examples. A clock that has not moved counts as one tick."""
    tick = 1e-9
    return Speed(num_examples / max(seconds, tick), num_examples / max(processor_secs, tick))


def _take(batches: Iterator, secs: float) -> tuple[int, float]:
    """Take batches for `secs` or a little longer: (their number, the seconds it took)."""
    num_batches, started = 0, time.perf_counter()
    while True:
        next(batches)
        num_batches += 1
        seconds = time.perf_counter() - started
        if seconds >= secs:
            return num_batches, seconds
