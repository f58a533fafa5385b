"""Runs an exported step by JAX's XLA. It needs JAX and NumPy, and no TensorFlow.

    python -m benchmarks.gpu.stablehlo.jax_program FILE STEPS

When the step is compiled, a line of JSON says by what; then every line of stdin asks for STEPS
steps and is answered with an empty line.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.stablehlo import step_file
from benchmarks.gpu.stablehlo.step_file import Step

# The other candidates are on the same GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
_WARMUP_STEPS = 2


def compiled(step: Step) -> Callable[..., tuple]:
    """Returns the step as a function of its inputs, which it consumes where it returns them.

    JAX exports a function of these types, and the program takes the place of its own.
    """
    import jax  # pyright: ignore
    import jax.numpy as jnp  # pyright: ignore
    from jax.extend.mlir.dialects import stablehlo  # pyright: ignore

    jax.config.update("jax_enable_x64", True)  # the counters of a run are int64
    arguments = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in step.inputs]
    by_name = dict(zip((one.name for one in step.inputs), arguments, strict=True))
    results = [by_name[name] for name in step.outputs[1:]]

    def of_these_types(*values: Any) -> tuple:
        number = sum(jnp.sum(value).astype(jnp.float32) for value in values)
        report = jnp.full([step.about["num_values"]], number)
        return report, *(jnp.full(one.shape, number).astype(one.dtype) for one in results)

    exported = jax.export.export(jax.jit(of_these_types, keep_unused=True))(*arguments)
    oldest = stablehlo.get_minimum_version()
    program = stablehlo.serialize_portable_artifact_str(step.program, oldest)
    exported = dataclasses.replace(exported, mlir_module_serialized=program)
    return jax.jit(exported.call, donate_argnums=tuple(step.feedback()))


class Training:
    """A sequence of steps, each on the results of the one before.

    Attributes:
        values: the report of the last step.
    """

    def __init__(self, step: Step):
        import jax  # pyright: ignore

        self._step, self._call = step, compiled(step)
        self._state = [jax.device_put(value) for value in step.first_values()]
        self._feedback = step.feedback()
        self.values: Any = None

    def run(self, steps: int) -> None:
        """Takes steps, and waits for the last one."""
        for _ in range(steps):
            self.values, *_ = results = self._call(*self._state)
            for argument, result in self._feedback.items():
                self._state[argument] = results[result]
        self.values.block_until_ready()

    def variables(self) -> dict[str, np.ndarray]:
        """Returns what the steps have changed, by name."""
        names = [one.name for one in self._step.inputs]
        return {names[number]: np.asarray(self._state[number]) for number in self._feedback}


def main(arguments: Sequence[str]) -> None:
    """Announces itself, and takes steps for every line of stdin."""
    import jax  # pyright: ignore

    path, steps = arguments
    trained = Training(step_file.read(Path(path)))
    trained.run(_WARMUP_STEPS)
    device = jax.devices()[0]
    print(json.dumps({"versions": {"jax": jax.__version__}, "device": device.device_kind}))
    sys.stdout.flush()
    for _ in sys.stdin:
        trained.run(int(steps))
        print(flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
