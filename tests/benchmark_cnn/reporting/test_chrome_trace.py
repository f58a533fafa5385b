"""Conversion of a profile written by hand."""

import json

from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmark_cnn.reporting import profiling


def add_plane(space, name, names, stat_names=()):
    plane = space.planes.add(name=name)
    for key, event_name in names.items():
        plane.event_metadata[key].name = event_name
    for key, stat_name in dict(stat_names).items():
        plane.stat_metadata[key].name = stat_name
    return plane


def convert(space):
    """Through text, as a viewer gets it."""
    trace = json.dumps(profiling.from_xspace(space.SerializeToString()), allow_nan=False)
    return json.loads(trace)["traceEvents"]


def test_devices_are_processes_and_streams_are_threads():
    space = xplane_pb2.XSpace()
    for device in ("/host:CPU", "/device:GPU:0"):
        plane = add_plane(space, device, {1: "MatMul"})
        for line in ("first", "second"):
            plane.lines.add(name=line).events.add(metadata_id=1)
    space.planes.add(name="Task Environment")
    events = convert(space)
    names = [(e["name"], e["pid"], e["args"]["name"]) for e in events if e["ph"] == "M"]
    assert names == [
        ("process_name", 1, "/host:CPU"),
        ("thread_name", 1, "first"),
        ("thread_name", 1, "second"),
        ("process_name", 2, "/device:GPU:0"),
        ("thread_name", 2, "first"),
        ("thread_name", 2, "second"),
    ]
    slices = [(e["name"], e["pid"], e["tid"]) for e in events if e["ph"] == "X"]
    assert slices == [("MatMul", pid, tid) for pid in (1, 2) for tid in (1, 2)]


def test_times_are_microseconds_from_the_first_line_on():
    space = xplane_pb2.XSpace()
    plane = add_plane(space, "/host:CPU", {1: "Relu", 2: "Mul"})
    early = plane.lines.add(timestamp_ns=5_000)
    late = plane.lines.add(timestamp_ns=7_500)
    early.events.add(metadata_id=1, offset_ps=1_000_000, duration_ps=2_500_000)
    late.events.add(metadata_id=2, offset_ps=250_000, duration_ps=0)
    times = {e["name"]: (e["ts"], e["dur"]) for e in convert(space) if e["ph"] == "X"}
    assert times == {"Relu": (1.0, 2.5), "Mul": (2.75, 0.0)}


def test_arguments_of_every_kind():
    space = xplane_pb2.XSpace()
    names = ("step_num", "bytes", "share", "broken", "shape", "kernel", "raw", "none")
    plane = add_plane(space, "/host:CPU", {1: "train"}, dict(enumerate([*names, "from a table"])))
    stats = plane.lines.add().events.add(metadata_id=1).stats
    stats.add(metadata_id=0, int64_value=-3)
    stats.add(metadata_id=1, uint64_value=2**63)
    stats.add(metadata_id=2, double_value=0.5)
    stats.add(metadata_id=3, double_value=float("nan"))
    stats.add(metadata_id=4, str_value="[32,224,224,3]")
    stats.add(metadata_id=5, ref_value=8)
    stats.add(metadata_id=6, bytes_value=b"\x01\xff")
    stats.add(metadata_id=7)
    (event,) = [e for e in convert(space) if e["ph"] == "X"]
    assert event["args"] == {
        "step_num": -3,
        "bytes": 2**63,
        "share": 0.5,
        "broken": "nan",
        "shape": "[32,224,224,3]",
        "kernel": "from a table",
        "raw": "01ff",
        "none": None,
    }


def test_names_meant_for_people_win():
    space = xplane_pb2.XSpace()
    plane = add_plane(space, "/device:GPU:0", {1: "volta_scudnn_128x64"})
    plane.event_metadata[1].display_name = "convolution"
    plane.lines.add(name="13", display_name="Stream 13").events.add(metadata_id=1)
    events = convert(space)
    assert [e["name"] for e in events if e["ph"] == "X"] == ["convolution"]
    assert events[1]["args"]["name"] == "Stream 13"


def test_an_empty_profile():
    assert convert(xplane_pb2.XSpace()) == []
