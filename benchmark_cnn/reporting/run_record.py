"""run.json: what a run is, and per start its versions, devices, command line and outcome.

`class_names` and `data` say what the run is trained on, whatever happens to the data; label 0 is
the first class. An entry of `starts` holds the host, but no user and no paths other than those of
the command line.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import numbers
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from benchmark_cnn.distribution.devices import Devices
from common import files
from common.process import num_cores
from common.version import __version__, installed

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "tensorflow-imagenet"
_GIT_TIMEOUT_SECS = 10


class RunRecord(contextlib.AbstractContextManager):
    """A context that keeps the entry of this start in `path`, after the earlier entries.

    Args:
        path: the run.json.
        command_line: program and arguments, as in sys.argv.
        start_step: global step at which the run starts or resumes.
        about: what the run is: `class_names`, which all starts share, and entries of this start.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        command_line: Sequence[str],
        devices: Devices,
        start_step: int = 0,
        about: Mapping[str, Any] | None = None,
    ):
        self.path = Path(path)
        facts = dict(about or {})
        self._shared = {"class_names": facts.pop("class_names", [])}
        self._earlier = read(self.path).get("starts", [])
        self._start: dict[str, Any] = {
            "started": _now(),
            "ended": None,
            "outcome": None,
            "start_step": start_step,
            **facts,
            "host": platform.node(),
            "command_line": _without_directory(command_line),
            "versions": versions(),
            "git": git_state(_ROOT),
            "devices": describe_devices(devices.kind, devices.towers),
            "cpu": describe_cpu(),
        }
        self._write()

    def __exit__(self, _kind, error: BaseException | None, _traceback) -> None:
        """Records the first line of the error as the outcome, unless the run has finished."""
        if self._start["ended"] is not None:
            return
        line = (str(error) or repr(error)).splitlines()[0] if error else "ended early"
        try:
            self._end(line)
        except OSError as reason:
            # A warning, so that the error that ended the run stays the last line.
            logging.warning("cannot write %s: %s", self.path, reason.strerror)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Records the outcome "done" and the results; NaN becomes null, since JSON has no NaN."""
        self._start["result"] = {name: _json_value(value) for name, value in result.items()}
        self._end("done")

    def _end(self, outcome: str) -> None:
        self._start |= {"ended": _now(), "outcome": outcome}
        self._write()

    def _write(self) -> None:
        record = {**self._shared, "starts": [*self._earlier, self._start]}
        files.write_text(self.path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Reads a run.json; {} if it is missing, and with a warning if it is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {**record, "starts": list(record["starts"])}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        logging.warning("%s cannot be read (%s): starting a new one", path, error)
        return {}


def last_start(path: Path) -> dict[str, Any]:
    """Returns the last entry of a run.json; {} without any."""
    return next(iter(read(path).get("starts", [])[-1:]), {})


def versions() -> dict[str, str | None]:
    """Returns the versions of the packages that determine a run's numbers."""
    return {
        "python": platform.python_version(),
        "tensorflow": installed("tensorflow"),
        "keras": installed("keras"),
        "numpy": installed("numpy"),
        _PACKAGE: __version__,
    }


def describe_devices(kind: str, towers: Sequence[str]) -> dict[str, Any]:
    """Describes the towers; for GPUs also the models, and TensorFlow's CUDA and cuDNN versions."""
    if kind != "gpu":
        return {"kind": kind, "towers": list(towers)}
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    build = tf.sysconfig.get_build_info()
    return {
        "kind": kind,
        "towers": list(towers),
        "gpus": [detail.get("device_name") for detail in details],
        "compute_capabilities": [
            ".".join(str(part) for part in detail.get("compute_capability", ()))
            for detail in details
        ],
        "cuda": build.get("cuda_version"),
        "cudnn": build.get("cudnn_version"),
    }


def describe_cpu() -> dict[str, Any]:
    """Returns the model, the cores of the machine, and those that this process may use."""
    return {"model": cpu_model(), "cores": os.cpu_count(), "usable_cores": num_cores()}


def git_state(root: Path) -> dict[str, Any] | None:
    """Returns the commit of the source tree, and whether tracked files differ from it.

    It returns None without git, and if `root` is not the top of a repository.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    if top is None or commit is None or changes is None:
        return None
    if Path(top).resolve() != root.resolve():
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_GIT_TIMEOUT_SECS,
            # Do not take the lock that the user's git commands need.
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def cpu_model() -> str:
    """Returns the name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1] if match else platform.machine()


def _without_directory(command_line: Sequence[str]) -> list[str]:
    return [*(Path(program).name for program in command_line[:1]), *command_line[1:]]


def _json_value(value: Any) -> Any:
    if not isinstance(value, numbers.Real):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
