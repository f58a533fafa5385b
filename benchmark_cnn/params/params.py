"""Every parameter of a run: one frozen dataclass per concern, one field per flag.

    params = make_params(model="lenet", batch_size=32, num_gpus=2)
    params.optimization.momentum

The engine takes a `Params` and nothing else, so it works without a command line. What a field may
hold is declared in `input_params`, `training_params` and `output_params`; which fields go together
is in `validation`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmark_cnn.params.data_params import DataParams, NetworkParams
from benchmark_cnn.params.flag import Flag, Value, flags_of
from benchmark_cnn.params.hardware_params import HardwareParams
from benchmark_cnn.params.output_params import CheckpointParams, EvaluationParams, ReportParams
from benchmark_cnn.params.training_params import LearningRateParams, OptimizationParams, RunParams
from common import files
from common.errors import DataError, UsageError

PARAMETERS_FILE = "parameters.json"
TRAIN_CONCERNS = (
    "network",
    "data",
    "hardware",
    "run",
    "learning_rate",
    "optimization",
    "checkpoint",
    "report",
)
# An evaluation has no towers that exchange anything or are compiled, no randomness, no updates.
EVAL_CONCERNS = (
    "network.model",
    "network.image_size",
    "network.num_classes",
    "network.data_format",
    "network.dtype",
    "data.data_dir",
    "data.data_name",
    "data.data_subset",
    "data.batch_size",
    "data.eval_method",
    "data.resize_method",
    "data.resize_kernels",
    "data.eval_crop_fraction",
    "data.num_data_threads",
    "data.max_corrupt_records",
    "hardware.device",
    "hardware.num_gpus",
    "hardware.gpu_indices",
    "hardware.num_intra_threads",
    "hardware.num_inter_threads",
    "hardware.deterministic",
    "hardware.allow_memory_growth",
    "optimization.moving_average_decay",
    "checkpoint.train_dir",
    "checkpoint.pretrained",
    "report.display_every",
    "report.debug",
    "evaluation",
)


@dataclasses.dataclass(frozen=True)
class Params:
    """All parameters. A field's name is its flag's name, and is unique across the concerns."""

    network: NetworkParams = dataclasses.field(default_factory=NetworkParams)
    data: DataParams = dataclasses.field(default_factory=DataParams)
    hardware: HardwareParams = dataclasses.field(default_factory=HardwareParams)
    run: RunParams = dataclasses.field(default_factory=RunParams)
    learning_rate: LearningRateParams = dataclasses.field(default_factory=LearningRateParams)
    optimization: OptimizationParams = dataclasses.field(default_factory=OptimizationParams)
    checkpoint: CheckpointParams = dataclasses.field(default_factory=CheckpointParams)
    report: ReportParams = dataclasses.field(default_factory=ReportParams)
    evaluation: EvaluationParams = dataclasses.field(default_factory=EvaluationParams)

    def to_dict(self) -> dict[str, Value]:
        """Flag name -> value, in the order of declaration."""
        return {f.name: getattr(getattr(self, f.concern), f.name) for f in FLAGS.values()}

    @classmethod
    def from_dict(
        cls, flat: Mapping[str, Any], warn: Callable[[str], None] | None = None
    ) -> Params:
        """The parameters that `to_dict` of this or another version wrote.

        Names this version does not know are left out, with one warning that lists them; names it
        knows and `flat` lacks keep their defaults. How fields go together is not checked: they did
        in the run that wrote them.

        Raises:
          UsageError: a value that its field cannot hold.
        """
        unknown = sorted(set(flat) - set(FLAGS))
        if unknown:
            (warn or _log_warning)(f"parameters of another version left out: {', '.join(unknown)}")
        return assemble({name: value for name, value in flat.items() if name in FLAGS}, cls())


CONCERNS: Mapping[str, type] = {
    field.name: type(getattr(Params(), field.name)) for field in dataclasses.fields(Params)
}
FLAGS: Mapping[str, Flag] = {
    flag.name: flag for concern, group in CONCERNS.items() for flag in flags_of(concern, group)
}


def select(concerns: Sequence[str], choices: Mapping[str, Sequence[str]]) -> list[Flag]:
    """The flags that `concerns` names, in the order of their declaration."""
    wanted = set(concerns)
    return [
        dataclasses.replace(flag, choices=tuple(choices.get(flag.name, flag.choices)))
        for flag in FLAGS.values()
        if flag.concern in wanted or f"{flag.concern}.{flag.name}" in wanted
    ]


def inherit(params: Params, run: Params, typed: frozenset[str]) -> Params:
    """The parameters of an evaluation of `run`.

    Model, data and the way images are prepared come from the run, but for what the user typed. The
    run's data_name goes with its data_dir, from which it may have been guessed.
    """
    if "data_dir" in typed:
        typed = typed | {"data_name"}
    names = [flag.name for flag in FLAGS.values() if flag.inherited and flag.name not in typed]
    values = run.to_dict()
    return assemble({name: values[name] for name in names}, params)


def write_parameters(params: Params, train_dir: str | os.PathLike[str]) -> None:
    """Write parameters.json into the run directory, which exists; a crash leaves the old file.

    Raises:
      DataError: the disk is full or the directory unwritable.
    """
    path = pathlib.Path(train_dir) / PARAMETERS_FILE
    with files.write_errors(str(path), "make room, and run the same command again"):
        files.write_text(path, json.dumps(params.to_dict(), indent=2) + "\n")


def read_parameters(
    train_dir: str | os.PathLike[str], warn: Callable[[str], None] | None = None
) -> Params:
    """The parameters of the run in `train_dir`. See `Params.from_dict`.

    Raises:
      DataError: no parameters.json there, or a damaged one.
    """
    path = pathlib.Path(train_dir) / PARAMETERS_FILE
    try:
        flat = json.loads(path.read_text())
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}; is it a run's directory?"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(flat, dict):
        raise DataError(f"{path} is damaged: it does not hold names and values")
    try:
        return Params.from_dict(flat, warn)
    except UsageError as error:
        raise DataError("\n".join(f"{path}: {line}" for line in str(error).split("\n"))) from error


def assemble(flat: Mapping[str, Any], base: Params) -> Params:
    """`base` with the values of `flat`; UsageError lists every name and value that is wrong."""
    lines: list[str] = []
    changes: dict[str, dict[str, Value]] = {concern: {} for concern in CONCERNS}
    for name, value in flat.items():
        flag = FLAGS.get(name)
        if flag is None:
            lines.append(_unknown(name))
            continue
        try:
            changes[flag.concern][name] = flag.checked(value)
        except ValueError as error:
            lines.append(f"--{name}={value} {error}")
    if lines:
        raise UsageError("\n".join(lines))
    groups = {c: dataclasses.replace(getattr(base, c), **changes[c]) for c in CONCERNS}
    return Params(**groups)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, FLAGS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown parameter {name}{hint}"


def _log_warning(text: str) -> None:
    from absl import logging

    logging.warning("%s", text)
