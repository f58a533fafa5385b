"""Training speed of the registered networks, those of keras.applications beside plain `fit`.

    python -m benchmarks.networks [--models=resnet50,keras_resnet50] [--rounds=3]

One tower of the engine trains a batch of 32 at 224 px on the CPU in float32; the peer is the same
network as keras.applications has it, compiled and fitted with the same optimizer. Both take a step
in turn, and the ratio is taken within a round. What is measured goes to a file at once, and a
network that is in the file is not measured again: the command can be stopped and continued.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark_cnn import process_environment
from benchmarks import training_sides
from benchmarks.turns import Side, SideFailed, Turn, seconds_in_turn
from models import registry

ENGINE, PEER = "engine", "fit"
_BYTES_PER_GIB = 1 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the networks that are not in the file yet, then print the table of all."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--models", help="names, with commas between (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="steps of each side (default 3)")
    parser.add_argument("--file", type=Path, default=Path("runs/network_speeds.json"))
    parser.add_argument(
        "--memory_gib", type=float, default=8, help="what a side may take (default 8)"
    )
    options = parser.parse_args(arguments)
    names = options.models.split(",") if options.models else registry.names()
    try:
        specs = [registry.get(name) for name in names]
    except registry.UnknownModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    results = json.loads(options.file.read_text()) if options.file.exists() else {}
    for spec in specs:
        if spec.name not in results:
            started = time.perf_counter()
            results[spec.name] = measure(spec, options.rounds, options.memory_gib)
            options.file.parent.mkdir(parents=True, exist_ok=True)
            options.file.write_text(json.dumps(results, indent=1) + "\n")
            print(
                f"{spec.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True
            )
    print("\n".join(table({spec.name: results[spec.name] for spec in specs})))
    return 0


def measure(spec: registry.ModelSpec, rounds: int, memory_gib: float) -> dict[str, Any]:
    """Images/s of every side in every round, or {"failed": reason}."""
    makers: dict[str, tuple] = {ENGINE: (training_sides.engine, spec.name)}
    application = spec.options.get("application")
    if application:
        makers[PEER] = (training_sides.fit_of_keras_applications, application)
    sides = {
        name: Side(_with_limited_memory, memory_gib, make, model)
        for name, (make, model) in makers.items()
    }
    try:
        for side in sides.values():  # both build and take their first step at the same time
            side.begin_turn()
        for side in sides.values():
            side.end_turn()
        seconds = seconds_in_turn(sides, rounds)
    except SideFailed as error:
        return {"failed": f"{error}"}
    finally:
        for side in sides.values():
            side.stop()
    return {
        name: [training_sides.BATCH_SIZE / value for value in values]
        for name, values in seconds.items()
    }


def _with_limited_memory(memory_gib: float, make: Callable[..., Turn], model: str) -> Turn:
    """The side `make(model, 1 step)`, in a process that ends where it would take more memory."""
    limit = int(memory_gib * _BYTES_PER_GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return make(model, 1)


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    """The lines of a Markdown table: medians, with lowest and highest in brackets."""
    lines = ["| network | images/s | `fit` | ratio |", "|---|---|---|---|"]
    for name, result in results.items():
        if "failed" in result:
            lines.append(f"| `{name}` | not measured: {result['failed']} | | |")
            continue
        engine, peer = result[ENGINE], result.get(PEER)
        cells = [_spread(engine, 1), "", ""]
        if peer:
            cells[1:] = (
                _spread(peer, 1),
                _spread([a / b for a, b in zip(engine, peer, strict=True)], 2),
            )
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


if __name__ == "__main__":
    process_environment.restart_with_defaults()
    sys.exit(main())
