"""SIGTERM and SIGINT ask a run to save and stop; a second signal stops it at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

from benchmark_cnn.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """A context in which the signals set `requested`, to be polled between steps."""

    def __init__(self):
        self.requested: str | None = None
        self._previous: dict = {}

    def __enter__(self) -> StopSignal:
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            # The first request is being served, or something hangs: do not wait for it again.
            os._exit(Stopped.exit_code)
        self.requested = signal.Signals(number).name
