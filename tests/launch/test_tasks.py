"""Which process of a cluster runs what, with which environment."""

from __future__ import annotations

import sys

import pytest

from common.errors import UsageError
from launch import tasks

TRAIN = ["train.py", "--model=lenet"]


def test_every_worker_runs_the_command_with_its_place():
    first, second = tasks.workers(TRAIN, ["a:1", "b:1"], 2)
    assert first.command == (
        sys.executable, "train.py", "--model=lenet", "--num_gpus=2",
        "--variable_update=collective_all_reduce", "--worker_hosts=a:1,b:1", "--task_index=0",
    )  # fmt: skip
    assert second.command == (*first.command[:-1], "--task_index=1")
    assert (first.index, second.index) == (0, 1)


def test_one_worker_is_no_cluster():
    (task,) = tasks.workers(["-m", "train"], ["a:1"], 2, python="python3")
    assert task.command == ("python3", "-m", "train", "--num_gpus=2")


def test_a_program_is_started_as_it_is():
    (task,) = tasks.workers(["./train.sh", "x"], ["a:1"], 1)
    assert task.command == ("./train.sh", "x", "--num_gpus=1")


def test_an_installed_program_runs_from_next_to_python(tmp_path):
    """As `imagenet-train` of a virtual environment that is not activated."""
    python = tmp_path / "python"
    (tmp_path / "imagenet-train").touch()
    assert tasks.program(["imagenet-train", "x"], str(python)) == [
        str(tmp_path / "imagenet-train"), "x"
    ]  # fmt: skip
    for command in (["imagenet-eval"], ["./imagenet-train"], ["bin/imagenet-train"]):
        assert tasks.program(command, str(python)) == command


@pytest.mark.parametrize(
    "flag",
    ["--num_gpus=2", "--worker_hosts=a:1", "-task_index=0", "--variable_update", "--num_gpus"],
)
def test_flags_that_the_launcher_decides_are_refused(flag):
    name = flag.lstrip("-").partition("=")[0]
    with pytest.raises(UsageError, match=f"leave --{name} out of the command: the launcher"):
        tasks.workers([*TRAIN, flag], ["a:1"], 1)


def test_a_missing_command_is_named():
    with pytest.raises(UsageError, match=r"there is no command to start: add -- train.py"):
        tasks.workers([], ["a:1"], 1)


@pytest.mark.parametrize(
    ("visible", "dealt"),
    [({}, ["0,1", "2,3"]), ({"CUDA_VISIBLE_DEVICES": "7,5,3,1"}, ["7,5", "3,1"])],
)
def test_the_gpus_of_a_machine_are_dealt_out(visible, dealt):
    started = tasks.on_one_machine(tasks.workers(TRAIN, ["a:1", "a:2"], 2), 2, visible)
    assert [task.environment["CUDA_VISIBLE_DEVICES"] for task in started] == dealt


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_are_hidden_stay_so(hidden):
    started = tasks.workers(TRAIN, ["a:1", "a:2"], 2)
    dealt = tasks.on_one_machine(started, 2, {"CUDA_VISIBLE_DEVICES": hidden})
    assert all("CUDA_VISIBLE_DEVICES" not in task.environment for task in dealt)


def test_too_few_visible_gpus_are_named():
    started = tasks.workers(TRAIN, ["a:1", "a:2"], 2)
    with pytest.raises(
        UsageError, match=r"2 workers with 2 GPUs each need 4, and CUDA_VIS.* names 3"
    ):
        tasks.on_one_machine(started, 2, {"CUDA_VISIBLE_DEVICES": "0,1,2"})
