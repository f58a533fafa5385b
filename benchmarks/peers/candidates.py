"""What is compared: train.py's step or eval.py's answers, a bare loop, Keras, and timm's modes."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import training
from benchmarks.gpu import program, timm_steps
from benchmarks.gpu.peer import TIMM_NAMES
from benchmarks.peers import inference
from benchmarks.rounds import CandidateProcess
from common import process

MODES = ("train", "infer")
DTYPES = ("float32", "bfloat16")
OURS, BARE, KERAS, TIMM = "ours", "bare loop", "Keras", "timm"
MACHINE = "matrix products"
_SIDES = (1024, 2048)
_SECS_OF_PEAK = 0.2
_PROGRAM = Path(timm_steps.__file__)


@dataclass(frozen=True)
class Task:
    """What every candidate of a comparison does.

    Attributes:
        network: one of TIMM_NAMES.
        mode: one of MODES.
        steps: of a run.
        dtypes: the precisions of ours and of timm, some of DTYPES.
    """

    network: str
    mode: str
    batch_size: int
    image_size: int
    steps: int
    dtypes: tuple[str, ...] = DTYPES

    @property
    def trains(self) -> bool:
        """Whether it trains; else it answers."""
        return self.mode == "train"

    @property
    def title(self) -> str:
        """The line above its table, and its key in the file of results."""
        return f"{self.network}, {self.mode}, batch {self.batch_size}, {self.image_size} px"


Makers = dict[str, Callable[[], CandidateProcess]]
"""Name -> what starts the candidate. The name ends with the dtype and what is done to it."""


def makers(task: Task) -> Makers:
    """Returns all candidates, and MACHINE; timm's only if there is a `.venv-peers`."""
    peers = _timm(task) if program.PYTHON.exists() else {}
    return {**_tensorflow(task), **peers, MACHINE: _machine(task)}


def dtype_of(candidate: str) -> str:
    """Returns the precision that a candidate computes in."""
    return next(dtype for dtype in DTYPES if dtype in candidate)


def _tensorflow(task: Task) -> Makers:
    sizes = {"image_size": task.image_size, "batch_size": task.batch_size}

    def maker(function: Callable[..., Any], **flags: Any) -> Callable[[], CandidateProcess]:
        make = functools.partial(function, task.network, task.steps, **sizes, **flags)
        return functools.partial(CandidateProcess, make)

    if task.trains:
        ours, bare, keras = training.engine, training.bare_loop, training.fit
    else:
        ours, bare, keras = inference.folded, inference.as_trained, inference.predict
    return {
        **{f"{OURS}, {dtype}": maker(ours, dtype=dtype) for dtype in task.dtypes},
        f"{BARE}, float32": maker(bare),
        f"{KERAS}, float32": maker(keras),
    }


def _timm(task: Task) -> Makers:
    base = timm_steps.Task(
        network=TIMM_NAMES[task.network],
        trains=task.trains,
        dtype="float32",
        batch_size=task.batch_size,
        image_size=task.image_size,
        steps=task.steps,
        threads=process.num_cores(),
        sgd={
            "lr": training.LEARNING_RATE,
            "momentum": training.MOMENTUM,
            "weight_decay": training.WEIGHT_DECAY,
            "nesterov": True,
            "fused": True,
        },
    )
    kinds = {"": {}, ", compiled": {"is_compiled": True}}
    if not task.trains:
        kinds[", compiled, frozen"] = {"is_compiled": True, "is_frozen": True}
    made = {}
    for dtype in task.dtypes:
        for kind, flags in kinds.items():
            content = json.dumps(base._replace(dtype=dtype, **flags)._asdict())
            command = [str(program.PYTHON), str(_PROGRAM), content]
            made[f"{TIMM}, {dtype}{kind}"] = functools.partial(program.ProgramCandidate, command)
    return made


def _machine(task: Task) -> Callable[[], CandidateProcess]:
    return functools.partial(CandidateProcess, functools.partial(machine, task.dtypes))


def machine(dtypes: Sequence[str]) -> Callable[[], dict[str, float]]:
    """Returns a call that measures the products of square matrices, in TFLOP/s of each dtype."""
    import tensorflow as tf

    training.prepare_cpu()
    product: Any = tf.function(lambda matrix: tf.linalg.matmul(matrix, matrix))
    matrices = {
        dtype: [tf.cast(tf.random.normal([side, side]), dtype) for side in _SIDES]
        for dtype in dtypes
    }

    def tflops(matrix: Any) -> float:
        fewest, until = float("inf"), time.perf_counter() + _SECS_OF_PEAK
        while time.perf_counter() < until:
            started = time.perf_counter()
            product(matrix).numpy()
            fewest = min(fewest, time.perf_counter() - started)
        return 2 * int(matrix.shape[0]) ** 3 / fewest / 1e12

    return lambda: {dtype: max(map(tflops, of_dtype)) for dtype, of_dtype in matrices.items()}
