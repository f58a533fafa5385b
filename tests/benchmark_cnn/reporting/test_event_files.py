"""A resumed run shows each step once, in both loaders of TensorBoard."""

import os

import pytest
import tensorflow as tf

from benchmark_cnn.reporting import summaries
from tests.benchmark_cnn.reporting import event_readers

READERS = [
    event_readers.read_with_fast_loader,
    event_readers.read_with_slow_loader,
]


def train(directory, steps, value, *, start_step, tags=("loss", "speed")):
    earlier = set(directory.iterdir())
    writer = summaries.open_writer(directory, start_step)
    with writer.as_default():
        for step in steps:
            for tag in tags:
                tf.summary.scalar(tag, value, step=step)
    writer.close()
    # Readers take files in the order of their names, which hold seconds since 1970.
    (path,) = set(directory.iterdir()) - earlier
    path.rename(directory / f"events.out.tfevents.{10**9 + len(earlier)}.host.v2")


def points(steps, value):
    return [(step, value) for step in steps]


@pytest.mark.parametrize("read", READERS)
def test_what_came_after_the_checkpoint_is_gone(tmp_path, read):
    train(tmp_path, range(10, 101, 10), 1.0, start_step=0)
    # This run stops before the first one did.
    train(tmp_path, range(60, 91, 10), 2.0, start_step=50)
    expected = points(range(10, 51, 10), 1.0) + points(range(60, 91, 10), 2.0)
    assert read(tmp_path) == {"loss": expected, "speed": expected}


@pytest.mark.parametrize("read", READERS)
def test_several_resumes(tmp_path, read):
    train(tmp_path, range(1, 9), 1.0, start_step=0)
    train(tmp_path, range(5, 8), 2.0, start_step=4)
    train(tmp_path, range(5, 11), 3.0, start_step=4)
    train(tmp_path, range(10, 12), 4.0, start_step=9)
    expected = points(range(1, 5), 1.0) + points(range(5, 10), 3.0) + points([10, 11], 4.0)
    assert read(tmp_path) == {"loss": expected, "speed": expected}


@pytest.mark.parametrize("read", READERS)
def test_a_run_that_died_before_its_first_checkpoint_starts_over(tmp_path, read):
    train(tmp_path, range(1, 9), 1.0, start_step=0)
    train(tmp_path, range(1, 4), 2.0, start_step=0)
    assert read(tmp_path)["loss"] == points(range(1, 4), 2.0)


def test_a_running_tensorboard_forgets_what_it_has_read(tmp_path):
    train(tmp_path, range(1, 9), 1.0, start_step=0)
    tensorboard = event_readers.plugin_accumulator(tmp_path)
    assert event_readers.points_of(tensorboard)["speed"] == points(range(1, 9), 1.0)
    train(tmp_path, [6], 2.0, start_step=5, tags=["loss"])
    assert event_readers.points_of(tensorboard) == {
        "loss": [*points(range(1, 6), 1.0), (6, 2.0)],
        "speed": points(range(1, 6), 1.0),
    }


@pytest.mark.parametrize("read", READERS)
def test_a_file_torn_by_a_kill(tmp_path, read):
    train(tmp_path, range(1, 9), 1.0, start_step=0, tags=["loss"])
    (path,) = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size - 7)
    train(tmp_path, range(8, 10), 2.0, start_step=7, tags=["loss"])
    assert read(tmp_path)["loss"] == points(range(1, 8), 1.0) + points([8, 9], 2.0)


@pytest.mark.parametrize("read", READERS)
def test_nothing_is_dropped_where_no_run_is_resumed(tmp_path, read):
    train(tmp_path, [10], 1.0, start_step=None)
    train(tmp_path, [20], 2.0, start_step=None)
    assert read(tmp_path)["loss"] == [(10, 1.0), (20, 2.0)]
