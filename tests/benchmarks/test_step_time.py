"""The model of a step's time against closed forms, and against published speeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.scaling import step_time
from benchmarks.scaling.step_time import MACHINES, Machine, Work

WORK = Work(1000, 100e6, 100, images_per_core=None)


def test_the_expected_maximum_of_normals():
    """1/sqrt(pi) of two, 3/(2 sqrt(pi)) of three; of 1,000 as by simulation."""
    assert step_time.largest_of_normals(1) == 0
    assert step_time.largest_of_normals(2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-6)
    assert step_time.largest_of_normals(3) == pytest.approx(1.5 / math.sqrt(math.pi), rel=1e-6)
    drawn = np.random.default_rng(1).standard_normal((4000, 1000)).max(axis=1)
    error = drawn.std() / math.sqrt(len(drawn))
    assert abs(step_time.largest_of_normals(1000) - drawn.mean()) < 4 * error


def test_all_reduce_by_hand():
    """100 MB over 4 members at 1 GB/s: 6 hops of 25 MB. A tree passes all bytes twice."""
    assert step_time.ring_secs(100e6, 4, 1e9, 0.001) == pytest.approx(6 * (0.001 + 0.025))
    assert step_time.tree_secs(100e6, 4, 1e9, 0.001) == pytest.approx(2 * 2 * 0.001 + 0.2)
    assert step_time.ring_secs(100e6, 1, 1e9, 0.001) == 0
    assert step_time.tree_secs(100e6, 1, 1e9, 0.001) == 0


def test_many_machines_take_the_tree():
    """A ring's latency grows with the members, a tree's with their logarithm."""
    machine = Machine(8, 1e12, 0, 1e9, 0.001, 8)
    few = step_time.all_reduce_secs(1e6, machine, 16)
    many = step_time.all_reduce_secs(1e6, machine, 8 * 1024)
    assert few == pytest.approx(2 * (0.001 + 0.0005), rel=1e-2)
    assert many == pytest.approx(2 * 10 * 0.001 + 0.002, rel=1e-2)


def test_the_longest_part_decides():
    machine = Machine(8, 1e12, 0, 1e12, 0, cores=8, jitter=0)
    assert step_time.step_time(WORK, machine, 1).total == pytest.approx(0.1)
    slow_input = Work(1000, 100e6, 100, images_per_core=500)
    late = step_time.step_time(slow_input, machine, 8)
    assert late.total == pytest.approx(800 / 4000)
    assert late.limit == "input"
    # 2 GB/s: 8 GPUs take 2 * 7/8 * 50 ms, of which half a step of compute is hidden.
    slow_link = Machine(8, 2e9, 0, 1e12, 0, cores=8, jitter=0)
    reduced = step_time.step_time(WORK, slow_link, 8)
    assert reduced.total == pytest.approx(0.1 + 0.0875 - 0.05)
    assert reduced.limit == "all-reduce"


@pytest.mark.parametrize(
    "row", step_time.PUBLISHED[:4], ids=[row[0] for row in step_time.PUBLISHED[:4]]
)
def test_published_speeds_of_eight_gpus_are_within_five_percent(row):
    """One parameter is fitted to the three rows of ResNet-50; EfficientNet's is a check."""
    _, network, machine, batch_size, one, eight = row
    assert step_time._eight(network, machine, batch_size, one) == pytest.approx(eight, rel=0.05)


def test_the_command_prints_every_count(capsys):
    assert step_time.main(["--machine=h100", "--images_per_sec=3400"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[0].replace(",", "")) for line in lines[1:12]] == list(
        step_time._COUNTS
    )
    assert set(MACHINES) == {"v100", "a100", "h100"}
