"""The speed of steps, by the formulas of tf_cnn_benchmarks' published figures."""

from __future__ import annotations

import math
import time
from array import array
from typing import NamedTuple

import numpy as np

# The resolution of time.perf_counter: no step is shorter.
_SHORTEST_STEP_SECS = 1e-9
# Scales a median absolute deviation to the standard deviation of a normal distribution.
_NORMAL_CONSISTENCY = 1.4826


class SpeedReport(NamedTuple):
    """Speed over n steps of B images that took t seconds each; s = B / t. All NaN if n is 0.

    Attributes:
        images_per_sec: B / mean(t).
        uncertainty: standard error of the mean, std(s) / sqrt(n), images/s.
        jitter: 1.4826 * median(|s - median(s)|), images/s: the spread without its outliers.
        data_wait_share: share of the time spent waiting for data, 0..1.
    """

    images_per_sec: float
    uncertainty: float
    jitter: float
    data_wait_share: float


class Timing(NamedTuple):
    """The wall-clock time of consecutive steps.

    Attributes:
        first: the steps that were done before them.
        seconds: from the start of the first one to the end of the last one.
        waited: the part of it spent waiting for data; NaN if unknown.
    """

    first: int
    seconds: float
    waited: float


class Stopwatch:
    """Times the steps between two moments at which the device has finished all of them."""

    def __init__(self):
        self._started: tuple[int, float] | None = None

    def start(self, steps_done: int) -> None:
        """Starts, unless it runs already."""
        if self._started is None:
            self._started = steps_done, time.perf_counter()

    def stop(self, waited: float) -> Timing:
        """Returns the time since the start; `waited` seconds of it were spent waiting for data."""
        assert self._started is not None
        first, started = self._started
        self._started = None
        return Timing(first, time.perf_counter() - started, waited)


class Speed:
    """The wall-clock seconds of every step so far."""

    def __init__(self, images_per_step: int):
        self.images_per_step = images_per_step
        self._step_secs = array("d")
        self._wait_secs = array("d")

    @property
    def num_steps(self) -> int:
        return len(self._step_secs)

    def record(self, seconds: float, steps: int = 1, data_wait_secs: float = 0.0) -> None:
        """Adds `steps` steps that took `seconds` together, measured with time.perf_counter.

        Args:
            data_wait_secs: the part of `seconds` spent waiting for data. It is clipped to
                0..seconds, since it may come from a clock that was set back or forth.
        """
        step_secs = max(seconds / steps, _SHORTEST_STEP_SECS)
        wait_secs = min(max(data_wait_secs / steps, 0.0), step_secs)
        self._step_secs.extend([step_secs] * steps)
        self._wait_secs.extend([wait_secs] * steps)

    def report(self, since: int = 0) -> SpeedReport:
        """Computes the speed over the recorded steps, without the first `since`."""
        step_secs = np.array(self._step_secs[since:])
        if not step_secs.size:
            return SpeedReport(math.nan, math.nan, math.nan, math.nan)
        speeds = self.images_per_step / step_secs
        deviations = np.abs(speeds - np.median(speeds))
        return SpeedReport(
            images_per_sec=self.images_per_step / float(np.mean(step_secs)),
            uncertainty=float(np.std(speeds)) / math.sqrt(step_secs.size),
            jitter=_NORMAL_CONSISTENCY * float(np.median(deviations)),
            data_wait_share=sum(self._wait_secs[since:]) / float(np.sum(step_secs)),
        )
