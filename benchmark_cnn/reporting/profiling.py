"""Profiles a few steps: `--profile_steps` for TensorBoard, `--trace_file` for a trace viewer.

TensorFlow 2.21 saves an XSpace only, and TensorBoard needs the XProf plugin to show it.
`from_xspace` converts it to the JSON of chrome://tracing and ui.perfetto.dev ("Trace Event Format"
of the Chromium project: phases "X", a complete event, and "M", metadata).
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from benchmark_cnn.params.values import parse_profile_steps
from common import files
from common.errors import UsageError

# The first call of a single step compiles it, the second may still tune caches and algorithms.
_STEPS_BEFORE_TRACE = 2
_PICOSECONDS_PER_MICROSECOND = 1e6
_NANOSECONDS_PER_MICROSECOND = 1e3


@dataclass(frozen=True)
class _Window:
    """The steps from `first` to `last`, inclusive, of one run of the profiler.

    Attributes:
        directory: where the profiler writes.
        trace_file: the Chrome trace to convert the profile to, or None.
    """

    first: int
    last: int
    directory: Path
    trace_file: Path | None = None

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Steps at which a call into TensorFlow has to end."""
        if self.trace_file is None:
            return (self.first - 1, self.last)
        # The traced step is one call, and so is each of the steps that prepare it.
        return tuple(range(self.first - _STEPS_BEFORE_TRACE, self.last + 1))


class Profiler(contextlib.AbstractContextManager):
    """A context around the training loop; steps are global steps, the first one is 1.

    Failures are logged: profiling must not stop a run.

    Args:
        profile_steps: "first,last"; the profile goes to `train_dir`/plugins/profile.
        trace_file: file for a Chrome trace of the third step of this process, or of a later one if
            that is in `profile_steps`; gzipped if its name ends in .gz.
        train_dir: needed with profile_steps.
        start_step: global step at which the run starts or resumes.

    Raises:
        UsageError: the trace's directory cannot be created or written to.
    """

    def __init__(
        self,
        profile_steps: str | None,
        trace_file: str | os.PathLike[str] | None,
        train_dir: str | os.PathLike[str] | None,
        start_step: int = 0,
    ):
        self._windows: list[_Window] = []
        self._active: _Window | None = None
        self._stack = contextlib.ExitStack()
        if profile_steps is not None and train_dir is not None:
            self._add_profile(*parse_profile_steps(profile_steps), Path(train_dir), start_step)
        if trace_file is not None:
            self._add_trace(Path(trace_file), start_step)

    def __exit__(self, *_) -> None:
        if self._active is not None:
            self._stop(self._active)
        self._stack.close()
        for window in self._windows:
            logging.warning(
                "%s was not written: the run ended before step %d",
                window.trace_file or "the profile",
                window.first,
            )
        self._windows.clear()

    def end_of_call(self, step: int, end: int) -> int:
        """Returns where a call after `step` has to end, at most `end`."""
        windows = self._windows + ([self._active] if self._active else [])
        boundaries = [boundary for window in windows for boundary in window.boundaries]
        return min([end, *(boundary for boundary in boundaries if boundary > step)])

    @contextlib.contextmanager
    def steps(self, previous: int, step: int) -> Iterator[None]:
        """A context around the call that runs the steps in (previous, step]."""
        due = [window for window in self._windows if window.first == previous + 1]
        if due and self._active is None:
            self._start(due[0])
        if self._active is None:
            yield
            return
        # The profiler separates steps by these marks.
        with tf.profiler.experimental.Trace("train", step_num=step, _r=1):
            yield
        if step >= self._active.last:
            self._stop(self._active)

    def _add_profile(self, first: int, last: int, train_dir: Path, start_step: int) -> None:
        if first <= start_step:
            logging.warning(
                "--profile_steps=%d,%d: the run resumes at step %d, nothing is profiled",
                *(first, last, start_step),
            )
            return
        self._windows.append(_Window(first, last, train_dir))

    def _add_trace(self, path: Path, start_step: int) -> None:
        _make_writable(path)
        step = start_step + _STEPS_BEFORE_TRACE + 1
        # Only one profiler can run at a time, and it slows the steps around it.
        for window in self._windows:
            if window.first <= step <= window.last:
                step = window.last + _STEPS_BEFORE_TRACE + 1
        directory = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._windows.append(_Window(step, step, Path(directory), path))

    def _start(self, window: _Window) -> None:
        self._windows.remove(window)
        # A GPU may still be running the previous step, which the profile would include.
        tf.test.experimental.sync_devices()
        try:
            tf.profiler.experimental.start(os.fsencode(window.directory))
        except tf.errors.OpError as error:
            logging.warning("the profiler does not start: %s", error.message)
        else:
            self._active = window

    def _stop(self, window: _Window) -> None:
        self._active = None
        tf.test.experimental.sync_devices()
        try:
            tf.profiler.experimental.stop()
            if window.trace_file is not None:
                _write_trace(window.directory, window.trace_file)
        except (tf.errors.OpError, OSError, ValueError) as error:
            logging.warning("no profile of steps %d to %d: %s", window.first, window.last, error)


def _write_trace(directory: Path, path: Path) -> None:
    """Converts the profile in `directory` to a Chrome trace."""
    (profile,) = directory.glob("plugins/profile/*/*.xplane.pb")
    data = json.dumps(from_xspace(profile.read_bytes()), allow_nan=False).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _make_writable(path: Path) -> None:
    advice = "give a file in a directory that you may write to"
    with files.write_errors(f"--trace_file={path}", advice, UsageError):
        files.make_writable(path.parent)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def from_xspace(serialized: bytes) -> dict[str, Any]:
    """Converts an `.xplane.pb` to a Chrome trace; times are in microseconds from the first event.

    Devices and hosts become processes, streams and host threads become threads, events slices.
    """
    # TensorFlow has no public name for this message.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space: Any = xplane_pb2.XSpace.FromString(serialized)  # pyright: ignore[reportAttributeAccessIssue]
    planes = [plane for plane in space.planes if any(line.events for line in plane.lines)]
    starts = [line.timestamp_ns for plane in planes for line in plane.lines if line.events]
    origin_ns = min(starts, default=0)
    events = []
    for process, plane in enumerate(planes, start=1):
        events.append(_name_of("process_name", plane.name, process))
        for thread, line in enumerate(plane.lines, start=1):
            name = line.display_name or line.name
            events.append(_name_of("thread_name", name, process, thread))
            start_us = (line.timestamp_ns - origin_ns) / _NANOSECONDS_PER_MICROSECOND
            events += [_slice(plane, event, start_us, process, thread) for event in line.events]
    return {"displayTimeUnit": "ms", "traceEvents": events}


def _name_of(what: str, name: str, process: int, thread: int = 0) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _slice(plane, event, line_start_us: float, process: int, thread: int) -> dict[str, Any]:
    metadata = plane.event_metadata[event.metadata_id]
    return {
        "ph": "X",
        "name": metadata.display_name or metadata.name,
        "pid": process,
        "tid": thread,
        "ts": line_start_us + event.offset_ps / _PICOSECONDS_PER_MICROSECOND,
        "dur": event.duration_ps / _PICOSECONDS_PER_MICROSECOND,
        "args": {
            plane.stat_metadata[stat.metadata_id].name: _value_of(plane, stat)
            for stat in event.stats
        },
    }


def _value_of(plane, stat) -> Any:
    kind = stat.WhichOneof("value")
    if kind == "double_value" and not math.isfinite(stat.double_value):
        return str(stat.double_value)  # JSON has no NaN.
    if kind == "ref_value":
        return plane.stat_metadata[stat.ref_value].name
    if kind == "bytes_value":
        return stat.bytes_value.hex()
    return getattr(stat, kind) if kind else None
