"""All parameters of a run: one frozen dataclass per concern, one field per flag.

    params = make_params(model="lenet", batch_size=32, num_gpus=2)
    params.optimization.momentum

The engine takes a `Params`, so it works without a command line. The fields are declared in
data_params.py, hardware_params.py, training_params.py,
fine_tuning_params.py and output_params.py; validation.py checks
how they go together, and has `make_params`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from absl import logging

from benchmark_cnn.params.data_params import DataParams, NetworkParams
from benchmark_cnn.params.fine_tuning_params import DistillationParams, FineTuningParams
from benchmark_cnn.params.flag import Flag, Value, flags_of
from benchmark_cnn.params.hardware_params import HardwareParams
from benchmark_cnn.params.output_params import CheckpointParams, EvaluationParams, ReportParams
from benchmark_cnn.params.training_params import LearningRateParams, OptimizationParams, RunParams
from common import files, paths
from common.commands import did_you_mean
from common.errors import DataError, UsageError

PARAMETERS_FILE = "parameters.json"
_OFF_WORD = "none"


@dataclasses.dataclass(frozen=True)
class Params:
    """All parameters. A field's name is its flag's name, and is unique across the concerns."""

    network: NetworkParams = dataclasses.field(default_factory=NetworkParams)
    data: DataParams = dataclasses.field(default_factory=DataParams)
    hardware: HardwareParams = dataclasses.field(default_factory=HardwareParams)
    run: RunParams = dataclasses.field(default_factory=RunParams)
    learning_rate: LearningRateParams = dataclasses.field(default_factory=LearningRateParams)
    optimization: OptimizationParams = dataclasses.field(default_factory=OptimizationParams)
    fine_tuning: FineTuningParams = dataclasses.field(default_factory=FineTuningParams)
    distillation: DistillationParams = dataclasses.field(default_factory=DistillationParams)
    checkpoint: CheckpointParams = dataclasses.field(default_factory=CheckpointParams)
    report: ReportParams = dataclasses.field(default_factory=ReportParams)
    evaluation: EvaluationParams = dataclasses.field(default_factory=EvaluationParams)

    def to_dict(self) -> dict[str, Value]:
        """Returns flag name -> value, in the order of declaration."""
        return {f.name: getattr(getattr(self, f.concern), f.name) for f in FLAGS.values()}

    @classmethod
    def from_dict(cls, flat: Mapping[str, Any]) -> Params:
        """Makes the parameters that `to_dict` of this or another version returned.

        Unknown names are left out, with one warning that lists them; missing names keep their
        defaults. The rules of validation.py are not applied: they were when the run started.

        Raises:
            UsageError: a value that its field cannot hold.
        """
        unknown = sorted(set(flat) - set(FLAGS))
        if unknown:
            logging.warning("parameters of another version left out: %s", ", ".join(unknown))
        return assemble({name: value for name, value in flat.items() if name in FLAGS}, cls())


CONCERNS: Mapping[str, type] = {
    field.name: type(getattr(Params(), field.name)) for field in dataclasses.fields(Params)
}
FLAGS: Mapping[str, Flag] = {
    flag.name: flag for concern, group in CONCERNS.items() for flag in flags_of(concern, group)
}


@dataclasses.dataclass(frozen=True)
class ExplicitFlags:
    """Parameters, and which of them the user set explicitly.

    `explicit` names the flags that were given, whatever their value; `from_files` those of them
    that came from a flag file; `unsure` those whose values could not be read, and so are not in
    `params`. A flag file describes a whole run, and the command line may revoke a part of it: what
    the file says about that part is then unused without an error.
    """

    params: Params
    explicit: frozenset[str] = frozenset()
    from_files: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()

    def is_set_on(self, name: str) -> bool:
        """Returns whether a flag was given a value other than "off": 0, false, None, "none", "".

        With an "off" value, a flag without effect does just what was wanted.
        """
        value = self.value(name)
        return name in self.explicit and bool(value) and value != _OFF_WORD

    def value(self, name: str) -> Value:
        """Returns the value of a flag, explicit or not."""
        return getattr(getattr(self.params, FLAGS[name].concern), name)

    def unused_flag_errors(
        self, names: Iterable[str], why: str, *, because_of: Iterable[str] | None = None
    ) -> list[str]:
        """Returns a line for each flag of `names` that is set on and has no effect.

        Args:
            why: the end of each line.
            because_of: the flags whose values are the reason. Where one of them was typed on the
                command line, flags from files are passed over. None where the reason is something
                absent (data, run directory, GPU), without which any flag file may be tried.
        """
        typed = self.explicit - self.from_files
        passes_files = because_of is None or not typed.isdisjoint(because_of)
        return [
            f"--{name} has no effect {why}"
            for name in names
            if self.is_set_on(name) and not (passes_files and name in self.from_files)
        ]

    def errors_unless(self, flag: str, value: str, names: Iterable[str]) -> list[str]:
        """Returns a line for each flag of `names` that is set on, unless `flag` has `value`."""
        if self.value(flag) == value:
            return []
        why = f"with --{flag}={self.value(flag)}; it belongs to --{flag}={value}"
        return self.unused_flag_errors(names, why, because_of=[flag])

    def exclusive_errors(self, first: str, second: str) -> list[str]:
        """Returns a line if both flags have a value."""
        if self.value(first) in (None, False) or self.value(second) in (None, False):
            return []
        return [f"--{first} and --{second} exclude each other; give one of them"]


def write_parameters(params: Params, train_dir: str | os.PathLike[str]) -> None:
    """Writes parameters.json into an existing run directory; a crash leaves the old file.

    Raises:
        DataError: the disk is full or the directory unwritable.
    """
    path = pathlib.Path(train_dir) / PARAMETERS_FILE
    with files.write_errors(path):
        files.write_text(path, json.dumps(recorded(params), indent=2) + "\n")


def recorded(params: Params) -> dict[str, Value]:
    """Returns flag name -> value as parameters.json holds it: paths are absolute."""
    return {
        name: paths.absolute(str(value)) if FLAGS[name].names_a_path(value) else value
        for name, value in params.to_dict().items()
    }


def read_parameters(train_dir: str | os.PathLike[str]) -> Params:
    """Reads the parameters of the run in `train_dir`. See `Params.from_dict`.

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
        return Params.from_dict(flat)
    except UsageError as error:
        raise DataError("\n".join(f"{path}: {line}" for line in str(error).split("\n"))) from error


def assemble(flat: Mapping[str, Any], base: Params) -> Params:
    """Returns `base` with the values of `flat`; a UsageError lists all wrong names and values."""
    lines: list[str] = []
    changes: dict[str, dict[str, Value]] = {concern: {} for concern in CONCERNS}
    for name, value in flat.items():
        flag = FLAGS.get(name)
        if flag is None:
            lines.append(f"unknown parameter {name}{did_you_mean(name, FLAGS)}")
            continue
        try:
            changes[flag.concern][name] = flag.checked(value)
        except ValueError as error:
            lines.append(f"--{name}={value} {error}")
    if lines:
        raise UsageError("\n".join(lines))
    groups = {c: dataclasses.replace(getattr(base, c), **changes[c]) for c in CONCERNS}
    return Params(**groups)
