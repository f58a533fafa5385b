"""Accuracy against size and latency: EfficientNet-Lite, MobileNet v2, ResNet-50, Inception v4.

    python -m benchmarks.exported.tradeoff [--directory=runs/tradeoff] [--threads=4] [--runs=50]

Writes two TFLite files of each network, float32 and INT8, with random weights, on which size and
latency do not depend, and measures them as `benchmarks.latency` does. Files that exist are not
written again. The accuracies are published ones. Prints the table, and draws size.png and
latency.png in the directory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.exported import latencies
from benchmarks.rounds import CandidateProcess
from common import commands, files, process
from common.errors import UsageError

FLOAT, INT8 = "float32", "int8"
_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
_CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class Published:
    """A network and the top-1 accuracies, in percent, that others measured on ImageNet.

    Attributes:
        int8: After quantization; None where no figure for this network is known.
        source: Who published them.
    """

    model: str
    title: str
    float32: float
    int8: float | None
    source: str

    @property
    def is_lite(self) -> bool:
        """Whether it is one of the family that the others are compared with."""
        return self.model.startswith("efficientnet_lite")


_AUTHORS = "tensorflow/tpu, EfficientNet-Lite"
NETWORKS = (
    Published("efficientnet_lite0", "Lite0", 75.1, 74.4, _AUTHORS),
    Published("efficientnet_lite1", "Lite1", 76.7, 75.9, _AUTHORS),
    Published("efficientnet_lite2", "Lite2", 77.6, 77.0, _AUTHORS),
    Published("efficientnet_lite3", "Lite3", 79.8, 79.0, _AUTHORS),
    Published("efficientnet_lite4", "Lite4", 81.5, 80.2, _AUTHORS),
    Published(
        "mobilenet_v2_orig", "MobileNet v2", 71.8, 70.8, "tensorflow 1.15, contrib/quantize (QAT)"
    ),
    Published(
        "resnet50", "ResNet-50", 76.71, 76.42, "TensorFlow Model Garden, quantized after training"
    ),
    Published("inception_v4", "Inception v4", 80.2, None, "tensorflow/models, TF-Slim"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table and draws the pictures; returns the exit code."""
    parser = commands.parser("python -m benchmarks.exported.tradeoff", __doc__)
    whole = commands.at_least(1)
    parser.add_argument("--directory", type=Path, default=Path("runs/tradeoff"))
    parser.add_argument("--threads", type=whole, help="of the runtime; default: one a core")
    parser.add_argument("--runs", type=whole, default=50, help="timed, of each file; default 50")
    parser.add_argument("--models", help="names, separated by commas; default: all eight")
    options = parser.parse_args(arguments)
    return commands.run(lambda: _report(options))


def _report(options: argparse.Namespace) -> None:
    chosen = NETWORKS
    if options.models:
        known = {network.model: network for network in NETWORKS}
        names = options.models.split(",")
        if not known.keys() >= set(names):
            raise UsageError(f"--models={options.models}: the networks are {', '.join(known)}")
        chosen = tuple(known[name] for name in names)
    options.directory.mkdir(parents=True, exist_ok=True)
    paths = {
        (network.model, kind): options.directory / f"{network.model}_{kind}.tflite"
        for network in chosen
        for kind in (FLOAT, INT8)
    }
    for (model, kind), path in paths.items():
        if not path.exists():
            _in_a_process(model, kind, path)
    threads = options.threads or process.num_cores()
    rows = latencies.measure(list(paths.values()), threads=threads, runs=options.runs)
    measured = dict(zip(paths, rows, strict=True))
    print("\n".join(table(chosen, measured)))
    for name, label in (("file_mb", "size of the TFLite file, MB"), ("median_ms", _axis(rows))):
        path = options.directory / f"{'size' if name == 'file_mb' else 'latency'}.png"
        _draw(path, chosen, measured, name, label)


def _axis(rows: Sequence[Mapping[str, Any]]) -> str:
    return f"median latency on {rows[0]['threads']} threads of this CPU, ms ({rows[0]['runtime']})"


def _in_a_process(model: str, kind: str, path: Path) -> None:
    """Writes a file; the process takes TensorFlow's memory with it."""
    print(f"writing {path}", file=sys.stderr, flush=True)
    candidate = CandidateProcess(_make_writer, model, kind, path)
    try:
        candidate.run()
    finally:
        candidate.stop()


def _make_writer(model: str, kind: str, path: Path) -> Any:
    def run() -> None:
        with process.quiet_startup():
            write(model, kind, path)

    return run


def write(model: str, kind: str, path: Path, image_size: int | None = None) -> None:
    """Writes a TFLite file of a network with random weights; INT8 is calibrated on noise."""
    import numpy as np
    import tensorflow as tf

    from exporters import tflite
    from exporters.servable import servable
    from inference.classifier import Classifier
    from inference.signature import Signature
    from inference.view import View
    from models import registry

    spec = registry.get(model)
    size = image_size or spec.image_size
    network = spec.build(num_classes=1000, image_size=size)
    _randomize(network.variables)
    folded = network.for_inference()
    folded.update()
    # An export asks its classifier for no more.
    holder = cast(Classifier, argparse.Namespace(network=network, logits=folded))
    names = tuple(f"class {number}" for number in range(1000))
    exported = servable(holder, Signature(model, size, names, View()), batch_size=1)
    converter = tflite.converter(exported)
    if kind == INT8:
        random = np.random.default_rng(1)

        def noise() -> Iterator[list[Any]]:
            for _ in range(_CALIBRATION_IMAGES):
                yield [random.uniform(0, 255, (1, size, size, 3)).astype(np.float32)]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = noise
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    with tflite.quiet():
        content = converter.convert()
    with files.atomic_file(path) as file:
        file.write(content)


def _randomize(variables: Mapping[str, Any]) -> None:
    """Replaces initial zeros and ones: a network that multiplies by zero becomes a smaller file."""
    import numpy as np

    random = np.random.default_rng(2)
    for name, variable in variables.items():
        if len(variable.shape) == 1:
            is_scale = name.endswith(("gamma", "variance"))
            low, high = (0.5, 1.5) if is_scale else (-0.1, 0.1)
            variable.assign(random.uniform(low, high, variable.shape))


def table(
    chosen: Sequence[Published], measured: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[str]:
    """Returns the lines of a Markdown table."""
    first = next(iter(measured.values()))
    lines = [
        f"{first['runtime']}, {first['threads']} threads, batch 1, {first['runs']} runs of each "
        "file; accuracies are published, not measured here",
        "",
        "| network | pixels | top-1 float / INT8 | MB float / INT8 | ms float / INT8 (p99) | "
        "accuracy from |",
        "|---|---|---|---|---|---|",
    ]
    for network in chosen:
        rows = [measured[network.model, kind] for kind in (FLOAT, INT8)]
        size = rows[0]["input"].split("x")[1]
        int8 = "-" if network.int8 is None else network.int8
        sizes = " / ".join(f"{row['file_mb']:.1f}" for row in rows)
        times = " / ".join(f"{row['median_ms']:.1f} ({row['p99_ms']:.1f})" for row in rows)
        lines.append(
            f"| `{network.model}` | {size} | {network.float32} / {int8} | {sizes} | {times} | "
            f"{network.source} |"
        )
    return lines


def _draw(
    path: Path,
    chosen: Sequence[Published],
    measured: Mapping[tuple[str, str], Mapping[str, Any]],
    column: str,
    label: str,
) -> None:
    """Draws top-1 against a column: EfficientNet-Lite as lines, the others as points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    others = [network for network in chosen if not network.is_lite]
    groups = [("EfficientNet-Lite", [n for n in chosen if n.is_lite])]
    groups += [(network.title, [network]) for network in others]
    for color, (title, group) in zip(_COLORS, groups, strict=False):
        for kind, marker, style in ((FLOAT, "o", "-"), (INT8, "s", "--")):
            points = [
                (measured[network.model, kind][column], top_1, network.title)
                for network in group
                if (top_1 := getattr(network, kind)) is not None
            ]
            if not points:
                continue
            x, y, names = zip(*points, strict=True)
            # Names stand above the float line and below the INT8 line, or points hide them.
            above = 6 if kind == FLOAT else -13
            axes.plot(x, y, style, marker=marker, color=color, label=f"{title}, {kind}")
            for at_x, at_y, name in zip(x, y, names, strict=True):
                axes.annotate(
                    name, (at_x, at_y), (4, above), textcoords="offset points", fontsize=8
                )
    axes.set_xscale("log", subs=(1, 2, 5))
    for axis_formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_formatter("{x:g}")
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.set_ylabel("published top-1 on ImageNet, %")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, loc="lower right")
    with files.write_errors(path):
        figure.savefig(str(path))


if __name__ == "__main__":
    sys.exit(main())
