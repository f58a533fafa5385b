"""From the profiler's XSpace to the JSON that chrome://tracing and ui.perfetto.dev show.

TensorFlow 2.21 saves an XSpace only, and leaves the JSON to TensorBoard's XProf plugin. Source:
"Trace Event Format" of the Chromium project: phases "X" (a complete event) and "M" (metadata).
"""

from __future__ import annotations

import math
from typing import Any

_PICOSECONDS_PER_MICROSECOND = 1e6
_NANOSECONDS_PER_MICROSECOND = 1e3


def from_xspace(serialized: bytes) -> dict[str, Any]:
    """A process per device and host, a thread per stream or host thread, a slice per event.

    Args:
      serialized: contents of an `.xplane.pb`.

    Returns:
      What json.dump takes; times in microseconds from the first event on.
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
