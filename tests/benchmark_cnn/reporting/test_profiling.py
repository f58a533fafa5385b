"""Profiles of real steps, opened again: the trace as JSON, the profile as TensorBoard's message."""

import gzip
import json

import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmark_cnn.reporting.profiling import Profiler
from common.errors import UsageError


@pytest.fixture(scope="module")
def step():
    weights = tf.Variable(tf.eye(64))

    @tf.function
    def step():
        weights.assign(tf.nn.relu(tf.matmul(weights, weights)))
        return tf.reduce_sum(weights)

    return step


def train(profiler, step, *, num_steps=12, per_call=4, start_step=0):
    """Calls of `per_call` steps, where the profiler does not cut them; returns their last steps."""
    ends, done = [], start_step
    with profiler:
        while done < num_steps:
            end = profiler.end_of_call(done, min(done + per_call, num_steps))
            with profiler.steps(done, end):
                for _ in range(end - done):
                    step().numpy()
            ends.append(end)
            done = end
    return ends


def slices(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        return [event for event in json.load(file)["traceEvents"] if event["ph"] == "X"]


def profile_of(train_dir):
    (path,) = train_dir.glob("plugins/profile/*/*.xplane.pb")
    return xplane_pb2.XSpace.FromString(path.read_bytes())


def executions(space_or_slices):
    """How often the step's Relu ran."""
    if isinstance(space_or_slices, list):
        return sum(event["name"] == "Relu" for event in space_or_slices)
    return sum(
        plane.event_metadata[event.metadata_id].display_name == "Relu"
        for plane in space_or_slices.planes
        for line in plane.lines
        for event in line.events
    )


class TestTrace:
    @pytest.mark.parametrize("name", ["trace.json", "new/directory/trace.json.gz"])
    def test_it_is_one_step(self, tmp_path, step, name):
        train(Profiler(None, tmp_path / name, None), step)
        events = slices(tmp_path / name)
        assert executions(events) == 1
        (mark,) = [event for event in events if event["name"] == "train"]
        assert mark["args"]["step_num"] == 3
        assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in events)
        assert any("MatMul" in event["name"] for event in events)

    def test_it_is_a_call_of_its_own_after_two_that_prepare_it(self, tmp_path, step):
        assert train(Profiler(None, tmp_path / "trace.json", None), step)[:4] == [1, 2, 3, 7]

    def test_a_resumed_run(self, tmp_path, step):
        profiler = Profiler(None, tmp_path / "trace.json", None, start_step=100)
        train(profiler, step, num_steps=110, start_step=100)
        (mark,) = [event for event in slices(tmp_path / "trace.json") if event["name"] == "train"]
        assert mark["args"]["step_num"] == 103

    def test_a_run_that_ends_before_it(self, tmp_path, step, caplog):
        train(Profiler(None, tmp_path / "trace.json", None), step, num_steps=2)
        assert "trace.json was not written: the run ended before step 3" in caplog.text
        assert not (tmp_path / "trace.json").exists()

    def test_a_place_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        for path in (tmp_path / "file" / "trace.json", tmp_path):
            with pytest.raises(UsageError, match="cannot write --trace_file="):
                Profiler(None, path, None)


class TestProfile:
    def test_it_has_the_steps_asked_for_and_no_other(self, tmp_path, step):
        ends = train(Profiler("5,7", None, tmp_path), step, per_call=2)
        assert ends == [2, 4, 6, 7, 9, 11, 12]
        assert executions(profile_of(tmp_path)) == 3

    def test_both_at_once(self, tmp_path, step):
        train(Profiler("2,4", tmp_path / "trace.json", tmp_path / "run"), step)
        assert executions(profile_of(tmp_path / "run")) == 3
        events = slices(tmp_path / "trace.json")
        assert executions(events) == 1
        (mark,) = [event for event in events if event["name"] == "train"]
        assert mark["args"]["step_num"] == 7

    def test_steps_that_are_past(self, tmp_path, step, caplog):
        train(Profiler("5,7", None, tmp_path, start_step=6), step, start_step=6)
        assert "nothing is profiled" in caplog.text
        assert list(tmp_path.iterdir()) == []

    def test_a_run_that_ends_within_it_keeps_what_there_is(self, tmp_path, step):
        train(Profiler("5,70", None, tmp_path), step, num_steps=8)
        assert executions(profile_of(tmp_path)) == 4

    def test_an_error_within_it_ends_it(self, tmp_path, step):
        steps = [step, step]
        with pytest.raises(IndexError):
            train(Profiler("2,5", None, tmp_path), lambda: steps.pop()(), per_call=1)
        assert executions(profile_of(tmp_path)) == 1
        # The profiler is free again.
        train(Profiler(None, tmp_path / "trace.json", None), step)

    def test_a_profiler_that_is_taken_is_a_warning(self, tmp_path, step, caplog):
        tf.profiler.experimental.start(str(tmp_path / "other"))
        try:
            train(Profiler("5,7", None, tmp_path / "run"), step)
        finally:
            tf.profiler.experimental.stop(save=False)
        assert "the profiler does not start" in caplog.text


def test_nothing_asked_for(tmp_path, step):
    assert train(Profiler(None, None, tmp_path), step) == [4, 8, 12]
    assert list(tmp_path.iterdir()) == []
