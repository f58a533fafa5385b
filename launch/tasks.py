"""What each worker of a cluster runs, and in which environment. Every launcher asks here.

A worker runs the user's command with the flags of its place in the cluster after it. The launcher
decides them, so the command must not hold them.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UsageError

_DECIDED_HERE = (
    "variable_update", "worker_hosts", "ps_hosts", "job_name", "task_index", "num_gpus",
    "gpu_indices",
)  # fmt: skip
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_HIDDEN = ("", "-1")  # its values that hide all GPUs


@dataclass(frozen=True)
class Task:
    """A process to start.

    Attributes:
        index: of the worker; 0 is the chief.
        command: program and arguments.
        environment: variables to set besides those that are set already.
        job: "worker", or of an asynchronous run also "chief" or "ps".
        is_alone: whether the others can do without it, as a worker of an asynchronous run.
    """

    index: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    job: str = "worker"
    is_alone: bool = False

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.job if self.job == "chief" else f"{self.job} {self.index}"


def workers(
    command: Sequence[str],
    hosts: Sequence[str],
    gpus_per_worker: int,
    *,
    python: str = sys.executable,
) -> list[Task]:
    """Returns a task for each of `hosts`.

    Args:
        command: what the user typed after `--`; a Python file runs under `python`.
        hosts: "host:port" of each worker, the chief's first. A single one is no cluster.

    Raises:
        UsageError: the command is missing, or has a flag that a launcher decides.
    """
    check_command(command)
    started = program(command, python)
    tasks = []
    for index in range(len(hosts)):
        flags = [f"--num_gpus={gpus_per_worker}"]
        if len(hosts) > 1:
            flags += [
                "--variable_update=collective_all_reduce",
                f"--worker_hosts={','.join(hosts)}",
                f"--task_index={index}",
            ]
        tasks.append(Task(index, (*started, *flags), {}))
    return tasks


def asynchronous(
    command: Sequence[str],
    worker_hosts: Sequence[str],
    ps_hosts: Sequence[str],
    *,
    python: str = sys.executable,
) -> list[Task]:
    """Returns the tasks of a run on parameter servers: the chief, the workers, the servers.

    Raises:
        UsageError: see `workers`.
    """
    check_command(command)
    started = program(command, python)
    common = [
        "--variable_update=parameter_server",
        f"--worker_hosts={','.join(worker_hosts)}",
        f"--ps_hosts={','.join(ps_hosts)}",
    ]
    places = [("chief", 0), *(("worker", i) for i in range(len(worker_hosts)))]
    places += [("ps", i) for i in range(len(ps_hosts))]
    return [
        Task(
            index,
            (*started, *common, f"--job_name={job}", f"--task_index={index}"),
            {},
            job=job,
            is_alone=job == "worker",
        )
        for job, index in places
    ]


def program(command: Sequence[str], python: str = sys.executable) -> list[str]:
    """Returns the command that a worker runs: a Python file and `-m` run under `python`.

    Another program that is installed next to `python` is run from there: a virtual environment that
    is not activated is not on the PATH.
    """
    if command[0].endswith(".py") or command[0] == "-m":
        return [python, *command]
    neighbor = Path(python).with_name(os.path.basename(command[0]))
    is_installed = command[0] == neighbor.name and neighbor.is_file()
    return [str(neighbor) if is_installed else command[0], *command[1:]]


def check_command(command: Sequence[str], flags: str = "--workers, --gpus_per_worker") -> None:
    """Checks what the user typed after `--`; raises UsageError.

    Args:
        flags: those of the launcher that decide what the command must not hold.
    """
    if not command:
        raise UsageError("there is no command to start: add -- train.py and its flags")
    for argument in command:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name in _DECIDED_HERE:
            raise UsageError(
                f"leave --{name} out of the command: the launcher sets it for each worker ({flags})"
            )


def value_of(command: Sequence[str], flag: str) -> str | None:
    """Returns the value of a flag in a command, the last one; None without it."""
    value = None
    for index, word in enumerate(command):
        name, equals, text = word.lstrip("-").partition("=")
        if word.startswith("-") and name == flag:
            value = text if equals else next(iter(command[index + 1 :]), "")
    return value


def without(command: Sequence[str], flag: str) -> tuple[str, ...]:
    """Returns a command without a flag and its value."""
    words = list(command)
    for index in reversed(range(len(words))):
        name, equals, _ = words[index].lstrip("-").partition("=")
        if words[index].startswith("-") and name == flag:
            del words[index : index + (1 if equals else 2)]
    return tuple(words)


def on_one_machine(
    tasks: Sequence[Task], gpus_per_worker: int, environment: Mapping[str, str]
) -> list[Task]:
    """Returns the tasks with the GPUs of one machine dealt out, `gpus_per_worker` to each.

    Args:
        environment: the launcher's; its CUDA_VISIBLE_DEVICES names the GPUs to deal out, or hides
            all of them from the tasks, too.

    Raises:
        UsageError: it names too few.
    """
    count = sum(task.job == "worker" for task in tasks)
    needed = gpus_per_worker * count
    gpus = [str(number) for number in range(needed)]
    if environment.get(_VISIBLE_GPUS) in _HIDDEN:
        return list(tasks)
    if _VISIBLE_GPUS in environment:
        gpus = environment[_VISIBLE_GPUS].split(",")
        if len(gpus) < needed:
            raise UsageError(
                f"{count} workers with {gpus_per_worker} GPUs each need {needed}, and "
                f"{_VISIBLE_GPUS}={environment[_VISIBLE_GPUS]} names {len(gpus)}"
            )

    def own(task: Task) -> str:
        if task.job != "worker":
            return ""
        first = task.index * gpus_per_worker
        return ",".join(gpus[first : first + gpus_per_worker])

    return [
        dataclasses.replace(task, environment={**task.environment, _VISIBLE_GPUS: own(task)})
        for task in tasks
    ]
