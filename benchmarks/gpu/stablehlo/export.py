"""The engine's compiled step as a pure function in StableHLO, before any optimization.

XLA takes the variables of a step as arguments, and returns those that the step assigned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmark_cnn.reporting import run_record
from benchmark_cnn.run import TrainingRun
from benchmark_cnn.step.training_step import REPORT
from benchmarks import training
from benchmarks.gpu.stablehlo.step_file import Input, Step
from common.errors import RunError
from models.layers import target

_ALIAS = re.compile(r"parameter_number = (\d+) : i64}, output_index = array<i64: (\d+)>")
_MAIN = re.compile(r"func\.func @main\((.*?)\) -> \(?(.*?)\)? \{\n", re.DOTALL)
# With parentheses in it, at most two deep, and strings.
_LOCATION = re.compile(r' loc\((?:[^()"]|"[^"]*"|\((?:[^()"]|"[^"]*")*\))*\)')
_DTYPES = {"uint8": "ui8", "int32": "i32", "int64": "i64", "float32": "f32", "bool": "i1"}


def export(network: str, *, dtype: str, batch_size: int, image_size: int) -> Step:
    """Exports the step of `train.py --xla=step` on one GPU, with the layers of a GPU."""
    with target.assume_gpu():
        run = training.set_up_engine(
            network, image_size=image_size, batch_size=batch_size, dtype=dtype, xla="step"
        )
        images, labels = training.batch(image_size, batch_size)
        step = of_run(run, images, labels)
    step.about.update(network=network, dtype=dtype, batch_size=batch_size, image_size=image_size)
    return step


def of_run(
    run: TrainingRun, images: np.ndarray, labels: np.ndarray, *, exact: bool = False
) -> Step:
    """Exports the step of a run of one tower that is set up with `--xla=step`.

    Args:
        images, labels: a batch.
        exact: keep the values of batch and variables.
    """

    def step(images, labels):
        return run.step(((images, labels),), True, False)

    function: Any = tf.function(step, jit_compile=True, autograph=False)
    batch = [tf.constant(images), tf.constant(labels)]
    concrete = function.get_concrete_function(*batch)
    text = function.experimental_get_compiler_ir(*batch)(stage="stablehlo")
    variables = {}
    for name, variable in run.state.named_variables().items():
        [copy] = run.manager.local_results(variable)
        variables[id(copy.handle)] = (name, copy)
    values = {"images": images, "labels": labels}
    for number, captured in enumerate(concrete.captured_inputs):
        name, held = variables.get(id(captured), (f"captured {number}", captured))
        if held.dtype == tf.resource:
            raise RunError(f"the step uses a variable that the run does not name: {held}")
        values[name] = held.numpy()
    inputs = [Input.like(name, value) for name, value in values.items()]
    about = {
        "versions": run_record.versions(),
        "parameters": _num_weights(run),
        "num_values": len(REPORT),
    }
    outputs = _outputs(text, inputs)
    return Step(readable(text), inputs, outputs, about, values if exact else {})


def _num_weights(run: TrainingRun) -> int:
    return sum(int(variable.shape.num_elements() or 0) for variable in run.step.tower.trained)


def _outputs(text: str, inputs: Sequence[Input]) -> list[str]:
    """Returns the names of the results; checks the types of the arguments.

    Raises:
        RunError: the program does not have these arguments.
    """
    aliases = {int(output): int(argument) for argument, output in _ALIAS.findall(text)}
    signature = _MAIN.search(text)
    if signature is None:
        raise RunError("XLA's program has no function main")
    arguments = re.findall(r"%arg\d+: tensor<([^>]*)>", signature[1])
    expected = ["x".join([*map(str, one.shape), _DTYPES[one.dtype]]) for one in inputs]
    if arguments != expected:
        raise RunError(f"XLA's program does not take the {len(expected)} arguments of the step")
    num_outputs = len(re.findall(r"tensor<", signature[2]))
    if sorted(aliases) != list(range(1, num_outputs)):
        raise RunError(f"{num_outputs - 1 - len(aliases)} results are values of no variable")
    return ["values", *(inputs[aliases[output]].name for output in range(1, num_outputs))]


def readable(text: str) -> str:
    """Removes what only TensorFlow's dialects can read: locations, attributes and copies.

    Raises:
        RunError: the program calls functions of the CPU.
    """
    if "custom_call" in text:
        called = sorted(set(re.findall(r"custom_call @(\S+?)\(", text)))
        raise RunError(f"the program calls functions of the CPU: {', '.join(called)}")
    text = re.sub(r"^#loc.*\n", "", text, flags=re.MULTILINE)
    text = _LOCATION.sub("", text)
    text = re.sub(r"^module @\S+ attributes \{.*\} \{$", "module @step {", text, flags=re.MULTILINE)
    text = re.sub(r"(,? ?)\{?mhlo\.frontend_attributes = \{[^}]*\}\}?", "", text)
    return re.sub(
        r"= mhlo\.copy (%\S+) : (tensor<.*>)$",
        r"= stablehlo.reshape \1 : (\2) -> \2",
        text,
        flags=re.MULTILINE,
    )
