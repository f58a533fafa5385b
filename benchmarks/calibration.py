"""Accuracy of an INT8 file by the number of images that calibrated it, compared with the network.

    python -m benchmarks.calibration --train_dir=runs/demo [--output=calibration.png]
                                     [--numbers=1,4,20,100,500] [--draws=5] [--calibration_data=DIR]
    python -m benchmarks.calibration --pretrained [--model=NAME] --calibration_data=DIR ...

Each draw chooses other images, stratified over the classes as export.py does, and takes the first
of them for the smaller numbers. All files are measured on the same images, which calibration does
not see: up to 500 of the validation split. Where their classes are not the network's, the measure
is how often the first class is the network's. Prints a table and draws it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import commands, files, paths, process
from common.errors import UsageError

DEFAULT_NUMBERS = (1, 4, 20, 100, 500)
_COLOR, _NETWORK_COLOR = "#0072B2", "#D55E00"

Results = Mapping[int, Sequence[Any]]
"""From a number of images to the `Agreement` of each draw."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and draws; returns the exit code."""
    parser = commands.parser("python -m benchmarks.calibration", __doc__)
    parser.add_argument("--train_dir", type=paths.argument, help="a run")
    parser.add_argument("--pretrained", action="store_true", help="published weights instead")
    parser.add_argument("--model", help="default: the run's, or efficientnet_lite0")
    parser.add_argument("--calibration_data", type=paths.argument, help="default: the run's data")
    parser.add_argument("--numbers", type=_numbers, default=DEFAULT_NUMBERS, help="of images")
    parser.add_argument("--draws", type=commands.at_least(1), default=5, help="default 5")
    parser.add_argument("--output", type=paths.argument, help="a picture: .png or .svg")
    options = parser.parse_args(arguments)
    return commands.run(lambda: _measure(options))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({commands.at_least(1)(part) for part in text.split(",")}))


def _measure(options: argparse.Namespace) -> None:
    from inference import source

    if options.pretrained == (options.train_dir is not None):
        raise UsageError("give the weights: --pretrained or --train_dir=DIR, one of them")
    with process.quiet_startup():
        loaded = source.load(source.Request(options.model, options.train_dir))
    results: dict[int, list[Any]] = {number: [] for number in options.numbers}
    for number, agreement in _agreements(loaded, options):
        results[number].append(agreement)
        print(f"{number:,} images, draw {len(results[number])}: {agreement}", flush=True)
    print(table(results))
    if options.output is not None:
        draw(results, loaded.signature.model, options.output)


def _agreements(loaded: Any, options: argparse.Namespace) -> Iterator[tuple[int, Any]]:
    """Yields (number of images, the agreement of its file with the network), draw by draw."""
    from exporters import tflite_metadata
    from exporters.int8 import calibration, quantizer
    from exporters.int8.agreement import compare
    from exporters.servable import servable
    from inference.artifacts import open_artifact

    exported = servable(loaded.classifier, loaded.signature, 1)
    for seed in range(1, options.draws + 1):
        chosen = calibration.choose(
            loaded.signature, loaded.data, options.calibration_data, max(options.numbers), seed
        )
        # The same images measure every draw.
        if seed == 1:
            measured = chosen.measured
        for number in options.numbers:
            if number > len(chosen.calibration):
                raise UsageError(f"{number:,} images are wanted, there are {chosen.calibration}")
            images = chosen.calibration.first(number)
            calibrated = quantizer.calibrate(exported, lambda: images.representative(1))  # noqa: B023
            content = quantizer.quantize(calibrated, "uint8", "uint8")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "int8.tflite")
                path.write_bytes(tflite_metadata.with_metadata(content, loaded.signature, ""))
                file = open_artifact(path)
            network = loaded.classifier.probabilities
            yield number, compare(network, file.probabilities, measured)


def table(results: Results) -> str:
    """Returns a Markdown table: the median, the lowest and the highest of all draws."""
    measure, (network, _) = of_agreement(next(iter(results.values()))[0])
    lines = [f"| images | {measure}, median | lowest | highest |", "|---:|---:|---:|---:|"]
    for number, agreements in results.items():
        values = [of_agreement(agreement)[1][1] for agreement in agreements]
        cells = (statistics.median(values), min(values), max(values))
        lines.append(f"| {number:,} | " + " | ".join(f"{value:.2f}%" for value in cells) + " |")
    return "\n".join([*lines, f"| the network | {network:.2f}% | | |"])


def of_agreement(agreement: Any) -> tuple[str, tuple[float, float]]:
    """Returns what is measured, and the percentage of (the network, the INT8 file)."""
    if agreement.num_labeled == len(agreement.images):
        network, file = (100 * correct / agreement.num_labeled for correct in agreement.num_correct)
        return "top-1", (network, file)
    return "the network's first class", (100.0, 100 * agreement.num_same / len(agreement.images))


def draw(results: Results, model: str, output: Path) -> None:
    """Draws top-1 against the number of images, with each draw as a point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    numbers = list(results)
    points = [[of_agreement(agreement)[1][1] for agreement in results[n]] for n in numbers]
    measure, (network, _) = of_agreement(next(iter(results.values()))[0])
    axes.axhline(network, color=_NETWORK_COLOR, lw=1.2, label=f"the network: {network:.2f}%")
    axes.plot(numbers, list(map(statistics.median, points)), color=_COLOR, label="INT8, median")
    for number, values in zip(numbers, points, strict=True):
        axes.plot([number] * len(values), values, "o", ms=4, alpha=0.5, color=_COLOR)
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.minorticks_off()
    axes.set_xlabel("calibration images")
    axes.set_ylabel(f"{measure}, %")
    axes.set_title(f"{model}, INT8: a point is one choice of images", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="lower right")
    with files.write_errors(output):
        figure.savefig(output)
    print(f"drawn: {output}")


if __name__ == "__main__":
    sys.exit(main())
