"""Training speed of the registered networks, compared with `fit` for those of keras.applications.

    python -m benchmarks.networks [--models=resnet50,keras_resnet50] [--rounds=3] [--minutes=60]
                                  [--memory_gib=8] [--apart] [--batch_size=32]

One tower of the engine trains a batch of 32 at 224 px on the CPU in float32; the baseline is the
same network as keras.applications has it, compiled and fitted with the same optimizer. Each takes
one step a round, and the ratio is taken within a round. If the memory does not hold both, --apart
measures one after the other; if it does not hold even one, --batch_size makes the batch smaller. A
network for smaller images, such as those of CIFAR-10, is measured at its own size, and one that
needs larger images at its minimum; the row says so. Results are written to a file at once, and a
network that is in the file is measured again only if it failed: the command can be stopped and
resumed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import training
from benchmarks.rounds import (
    CandidateFailed,
    CandidateProcess,
    Run,
    ratios,
    run_rounds,
    spread_text,
)
from common import commands, process
from models import registry

ENGINE, BASELINE = "engine", "fit"
_BYTES_PER_GIB = 1 << 30
# Networks whose steps take longest at equal image size; of the others, a larger default size does.
_SLOW = ("vgg", "152", "201", "convnextbase", "convnextlarge", "convnextxlarge", "densenet100_k24")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the networks that are not in the file yet, then prints the table of all."""
    parser = commands.parser("python -m benchmarks.networks", __doc__)
    parser.add_argument("--models", help="names, separated by commas (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="one step each (default 3)")
    parser.add_argument("--minutes", type=float, help="start no further network after this time")
    parser.add_argument("--file", type=Path, default=Path("runs/network_speeds.json"))
    parser.add_argument("--memory_gib", type=float, default=8, help="of a process (default 8)")
    parser.add_argument("--apart", action="store_true", help="measure one after the other")
    parser.add_argument("--batch_size", type=int, default=training.BATCH_SIZE, help="default 32")
    options = parser.parse_args(arguments)
    return commands.run(lambda: _measure_missing(options))


def _measure_missing(options: argparse.Namespace) -> None:
    specs = _specs(options.models)
    results = json.loads(options.file.read_text()) if options.file.exists() else {}
    started = time.perf_counter()
    for spec in specs:
        if spec.name in results and "failed" not in results[spec.name]:
            continue
        begun = time.perf_counter()
        if options.minutes is not None and begun - started >= 60 * options.minutes:
            break
        limits = (options.rounds, options.memory_gib)
        results[spec.name] = measure(
            spec, *limits, apart=options.apart, batch_size=options.batch_size
        )
        _write(options.file, results)
        print(f"{spec.name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    print("\n".join(table(specs, results)))


def _specs(names: str | None) -> list[registry.ModelSpec]:
    """Returns the networks asked for, in that order, or all, roughly by the time of a step."""
    if names:
        return [registry.get(name) for name in names.split(",")]
    return sorted(map(registry.get, registry.names()), key=_roughly_by_cost)


def _roughly_by_cost(spec: registry.ModelSpec) -> tuple[bool, int]:
    return any(part in spec.name for part in _SLOW), spec.image_size


def image_size(spec: registry.ModelSpec) -> int:
    """Returns the image size a network is measured at: 224 px if it takes that."""
    if spec.image_size < training.IMAGE_SIZE:
        return spec.image_size
    return max(training.IMAGE_SIZE, spec.options.get("minimum_image_size", 0))


def measure(
    spec: registry.ModelSpec,
    rounds: int,
    memory_gib: float,
    *,
    apart: bool = False,
    batch_size: int = training.BATCH_SIZE,
) -> dict[str, Any]:
    """Returns the images/s of engine and baseline in every round, or {"failed": reason}."""
    makers: dict[str, tuple] = {ENGINE: (training.engine, spec.name)}
    if spec.options.get("application"):
        makers[BASELINE] = (training.fit, spec.name)
    groups = [{name: maker} for name, maker in makers.items()] if apart else [makers]
    result: dict[str, Any] = {"apart": True} if apart else {}
    if batch_size != training.BATCH_SIZE:
        result["batch_size"] = batch_size
    kwargs = {"image_size": image_size(spec), "batch_size": batch_size}
    try:
        for group in groups:
            seconds = _seconds(group, kwargs, rounds, memory_gib)
            for name, values in seconds.items():
                result[name] = [batch_size / value for value in values]
    except CandidateFailed as error:
        return {"failed": f"{error}", "memory_gib": memory_gib}
    return result


def _seconds(
    makers: dict[str, tuple], kwargs: dict[str, int], rounds: int, memory_gib: float
) -> dict[str, list[float]]:
    """Returns how many seconds a step of each candidate took in every round."""
    candidates = {
        name: CandidateProcess(_with_limited_memory, memory_gib, make, model, kwargs)
        for name, (make, model) in makers.items()
    }
    try:
        for candidate in candidates.values():  # all build and run once at the same time
            candidate.begin()
        for candidate in candidates.values():
            candidate.end()
        return run_rounds({name: one.seconds for name, one in candidates.items()}, rounds)
    finally:
        for candidate in candidates.values():
            candidate.stop()


def _with_limited_memory(
    memory_gib: float, make: Callable[..., Run], model: str, kwargs: dict[str, int]
) -> Run:
    """Builds `make(model, 1 step)` in a process that fails when it needs more memory."""
    limit = int(memory_gib * _BYTES_PER_GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return make(model, 1, **kwargs)


def _write(file: Path, results: dict[str, Any]) -> None:
    """Replaces the file at once, so that stopping the command leaves it whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(json.dumps(results, indent=1) + "\n")
    unfinished.replace(file)


def table(specs: Sequence[registry.ModelSpec], results: dict[str, dict[str, Any]]) -> list[str]:
    """Returns the lines of a Markdown table: medians, with lowest and highest in brackets."""
    lines = ["| network | images/s | `fit` | ratio |", "|---|---|---|---|"]
    for spec in specs:
        size = image_size(spec)
        result = results.get(spec.name)
        name = f"`{spec.name}`" + ("" if size == training.IMAGE_SIZE else f", {size} px")
        if result and "batch_size" in result:
            name += f", batch {result['batch_size']}"
        if result and BASELINE in result and "apart" in result:
            name += ", apart"
        lines.append(f"| {name} | {' | '.join(_cells(result))} |")
    return lines


def _cells(result: dict[str, Any] | None) -> tuple[str, str, str]:
    if result is None:
        return "not measured yet", "", ""
    if "failed" in result:
        limit = f"limit {result['memory_gib']:g} GiB"
        return f"not measured ({limit}): {result['failed']}", "", ""
    engine, fit = result[ENGINE], result.get(BASELINE)
    if fit is None:
        return spread_text(engine, 1), "", ""
    return spread_text(engine, 1), spread_text(fit, 1), spread_text(ratios(engine, fit), 2)


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
