"""The process of one network: eval.py's evaluation, and what the network costs.

    python -m benchmarks.bulk.child RESULT_FILE MEMORY_GIB [flags of eval.py]

RESULT_FILE gets {"result": ...} or {"error": ..., "out_of_memory": ...}; a process that the kernel
ends writes none. MEMORY_GIB is a limit, 0 for none.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import eval as evaluation
from common import commands, files, process

_BYTES_PER_GIB = 1 << 30


def main(arguments: Sequence[str]) -> int:
    """Evaluates one network and returns the exit code of eval.py."""
    path, memory_gib, *argv = arguments
    if float(memory_gib):
        limit = int(float(memory_gib) * _BYTES_PER_GIB)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    # The output is a log: tracebacks belong there.
    return commands.run(lambda: _run(Path(path), argv), debug=True)


def _run(path: Path, argv: Sequence[str]) -> None:
    try:
        with process.StopSignal(raises=True):
            result = evaluation.evaluate(argv, about_network=_cost)
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        outcome = {"error": text, "out_of_memory": _is_out_of_memory(error)}
        files.write_text(path, json.dumps(outcome))
        raise
    files.write_text(path, json.dumps({"result": result}, default=str))


def _cost(network, image_size: int) -> dict[str, int]:
    """Returns the entries of a row that the network alone decides."""
    from models import cost

    counted = cost.cost(network, image_size)
    return {"parameters": cost.num_parameters(network), "madds": counted.published_madds}


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Returns whether memory ended, by the errors that led to this one."""
    import tensorflow as tf

    while error is not None:
        if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
