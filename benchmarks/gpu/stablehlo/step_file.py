"""A training step in a file: its program in StableHLO, and what it takes and returns.

The file is a zip archive of `step.mlir`, `step.json` and, if the initial values are to be exact,
`values.npz`. Reading one needs NumPy only.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import DataError

_PROGRAM, _ABOUT, _VALUES = "step.mlir", "step.json", "values.npz"
_SEED = 1


class Input(NamedTuple):
    """An argument of the program, and the distribution of its first value.

    Attributes:
        name: "images", "labels" or a variable's name in a checkpoint.
        dtype: NumPy's name.
        mean, std, low, high: of the values. Floats are drawn from a normal distribution within the
            bounds, integers from all between them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    mean: float
    std: float
    low: float
    high: float

    @classmethod
    def like(cls, name: str, value: np.ndarray) -> Input:
        """Describes an array."""
        moments = value.mean(dtype=np.float64), value.std(dtype=np.float64)
        numbers = map(float, (*moments, value.min(), value.max()))
        return cls(name, value.shape, value.dtype.name, *numbers)

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """Returns an array of the distribution."""
        if np.issubdtype(self.dtype, np.integer):
            low, high = int(self.low), int(self.high)
            return random.integers(low, high, self.shape, self.dtype, endpoint=True)
        values = self.mean + self.std * random.standard_normal(self.shape, np.float32)
        return np.clip(values, self.low, self.high).astype(self.dtype)


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of training as a pure function.

    Attributes:
        program: StableHLO, with a function `main`.
        inputs: its arguments.
        outputs: names of its results: "values", those of a step's report, then of variables.
        about: the network, its precision and batch, and the versions that made the program.
        values: exact first values by name of the input; those that are missing are drawn.
    """

    program: str
    inputs: list[Input]
    outputs: list[str]
    about: dict[str, Any]
    values: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def feedback(self) -> dict[int, int]:
        """Returns the number of an input -> that of the output that takes its place."""
        numbers = {name: number for number, name in enumerate(self.outputs)}
        names = enumerate(one.name for one in self.inputs)
        return {number: numbers[name] for number, name in names if name in numbers}

    def first_values(self) -> list[np.ndarray]:
        """Returns a value for each input, always the same."""
        random = np.random.default_rng(_SEED)
        drawn = {one.name: one.draw(random) for one in self.inputs if one.name not in self.values}
        return [{**drawn, **self.values}[one.name] for one in self.inputs]


def write(path: Path, step: Step) -> None:
    """Writes a step; raises OSError."""
    fields = {"inputs": step.inputs, "outputs": step.outputs, "about": step.about}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_PROGRAM, step.program)
        archive.writestr(_ABOUT, json.dumps(fields))
        if step.values:
            buffer = io.BytesIO()
            # Names of checkpoints have slashes, which np.savez makes into folders.
            np.savez(buffer, *step.values.values())
            archive.writestr(_VALUES, buffer.getvalue())
            archive.writestr("values.json", json.dumps(list(step.values)))


def read(path: Path) -> Step:
    """Reads a step.

    Raises:
        DataError: the file is missing, or is none of `write`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            program = archive.read(_PROGRAM).decode()
            fields = json.loads(archive.read(_ABOUT))
            values = {}
            if _VALUES in archive.namelist():
                arrays = np.load(io.BytesIO(archive.read(_VALUES)))
                names = json.loads(archive.read("values.json"))
                values = {name: arrays[f"arr_{number}"] for number, name in enumerate(names)}
        inputs = [Input(one[0], tuple(one[1]), *one[2:]) for one in fields["inputs"]]
        return Step(program, inputs, fields["outputs"], fields["about"], values)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} is no exported step ({error}): write one with "
            "`python -m benchmarks.gpu.stablehlo export`"
        ) from error
