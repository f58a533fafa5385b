"""Training speed of the registered networks, those of keras.applications beside plain `fit`.

    python -m benchmarks.networks [--models=resnet50,keras_resnet50] [--rounds=3] [--minutes=60]
                                  [--memory_gib=8] [--apart] [--batch_size=32]

One tower of the engine trains a batch of 32 at 224 px on the CPU in float32; the peer is the same
network as keras.applications has it, compiled and fitted with the same optimizer. Both take a step
in turn, and the ratio is taken within a round. Where the memory does not hold both sides, --apart
measures one after the other, and where it does not hold even one, --batch_size makes the batch
smaller. A network for smaller images, such as those of CIFAR-10, has its own
size, and one that needs larger images the least that it takes; the row says so. What is measured
goes to a file at once, and a network that is in the file is measured again only if it failed: the
command can be stopped and continued.
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

from benchmarks import training_sides
from benchmarks.turns import Side, SideFailed, Turn, seconds_in_turn
from common import process
from models import registry

ENGINE, PEER = "engine", "fit"
_BYTES_PER_GIB = 1 << 30
# Whose steps take longest at equal image size; a larger default size tells of the others.
_SLOW = ("vgg", "152", "201", "convnextbase", "convnextlarge", "convnextxlarge", "densenet100_k24")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the networks that are not in the file yet, then print the table of all."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument(
        "--models", help="names, with commas between (default: all, fast ones first)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="steps of each side (default 3)")
    parser.add_argument("--minutes", type=float, help="begin no further network after so long")
    parser.add_argument("--file", type=Path, default=Path("runs/network_speeds.json"))
    parser.add_argument(
        "--memory_gib", type=float, default=8, help="what a side may take (default 8)"
    )
    parser.add_argument(
        "--apart", action="store_true", help="one side after the other, each with the memory alone"
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        default=training_sides.BATCH_SIZE,
        help="images of a step (default 32)",
    )
    options = parser.parse_args(arguments)
    try:
        specs = _specs(options.models)
    except registry.UnknownModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    results = json.loads(options.file.read_text()) if options.file.exists() else {}
    started = time.perf_counter()
    for spec in specs:
        if spec.name in results and "failed" not in results[spec.name]:
            continue
        begun = time.perf_counter()
        if options.minutes is not None and begun - started >= 60 * options.minutes:
            break
        results[spec.name] = measure(
            spec,
            options.rounds,
            options.memory_gib,
            apart=options.apart,
            batch_size=options.batch_size,
        )
        _write(options.file, results)
        print(f"{spec.name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    print("\n".join(table(specs, results)))
    return 0


def _specs(names: str | None) -> list[registry.ModelSpec]:
    """The networks asked for, in that order, or all, roughly by the time that a step takes."""
    if names:
        return [registry.get(name) for name in names.split(",")]
    return sorted(map(registry.get, registry.names()), key=_roughly_by_cost)


def _roughly_by_cost(spec: registry.ModelSpec) -> tuple[bool, int]:
    return any(part in spec.name for part in _SLOW), spec.image_size


def image_size(spec: registry.ModelSpec) -> int:
    """The size a network is measured at: 224 px where it takes that."""
    if spec.image_size < training_sides.IMAGE_SIZE:
        return spec.image_size
    return max(training_sides.IMAGE_SIZE, spec.options.get("minimum_image_size", 0))


def measure(
    spec: registry.ModelSpec,
    rounds: int,
    memory_gib: float,
    *,
    apart: bool = False,
    batch_size: int = training_sides.BATCH_SIZE,
) -> dict[str, Any]:
    """Images/s of every side in every round, or {"failed": reason}."""
    makers: dict[str, tuple] = {ENGINE: (training_sides.engine, spec.name)}
    application = spec.options.get("application")
    if application:
        makers[PEER] = (training_sides.fit_of_keras_applications, application)
    groups = [{name: maker} for name, maker in makers.items()] if apart else [makers]
    result: dict[str, Any] = {"apart": True} if apart else {}
    if batch_size != training_sides.BATCH_SIZE:
        result["batch_size"] = batch_size
    kwargs = {"image_size": image_size(spec), "batch_size": batch_size}
    try:
        for group in groups:
            seconds = _seconds(group, kwargs, rounds, memory_gib)
            for name, values in seconds.items():
                result[name] = [batch_size / value for value in values]
    except SideFailed as error:
        return {"failed": f"{error}", "memory_gib": memory_gib}
    return result


def _seconds(
    makers: dict[str, tuple], kwargs: dict[str, int], rounds: int, memory_gib: float
) -> dict[str, list[float]]:
    """How long a step of each side took in every round."""
    sides = {
        name: Side(_with_limited_memory, memory_gib, make, model, kwargs)
        for name, (make, model) in makers.items()
    }
    try:
        for side in sides.values():  # all build and take their first step at the same time
            side.begin_turn()
        for side in sides.values():
            side.end_turn()
        return seconds_in_turn(sides, rounds)
    finally:
        for side in sides.values():
            side.stop()


def _with_limited_memory(
    memory_gib: float, make: Callable[..., Turn], model: str, kwargs: dict[str, int]
) -> Turn:
    """The side `make(model, 1 step)`, in a process that ends where it would take more memory."""
    limit = int(memory_gib * _BYTES_PER_GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return make(model, 1, **kwargs)


def _write(file: Path, results: dict[str, Any]) -> None:
    """In one step, so that stopping the command leaves the file whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(json.dumps(results, indent=1) + "\n")
    unfinished.replace(file)


def table(specs: Sequence[registry.ModelSpec], results: dict[str, dict[str, Any]]) -> list[str]:
    """The lines of a Markdown table: medians, with lowest and highest in brackets."""
    lines = ["| network | images/s | `fit` | ratio |", "|---|---|---|---|"]
    for spec in specs:
        size = image_size(spec)
        result = results.get(spec.name)
        name = f"`{spec.name}`" + ("" if size == training_sides.IMAGE_SIZE else f", {size} px")
        if result and "batch_size" in result:
            name += f", batch {result['batch_size']}"
        if result and PEER in result and "apart" in result:
            name += ", apart"
        lines.append(f"| {name} | {' | '.join(_cells(result))} |")
    return lines


def _cells(result: dict[str, Any] | None) -> tuple[str, str, str]:
    if result is None:
        return "not measured yet", "", ""
    if "failed" in result:
        limit = f"a side had {result['memory_gib']:g} GiB"
        return f"not measured ({limit}): {result['failed']}", "", ""
    engine, peer = result[ENGINE], result.get(PEER)
    if peer is None:
        return _spread(engine, 1), "", ""
    ratios = [a / b for a, b in zip(engine, peer, strict=True)]
    return _spread(engine, 1), _spread(peer, 1), _spread(ratios, 2)


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
