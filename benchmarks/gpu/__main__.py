"""Measures train.py on the GPUs of a machine, setting by setting, on synthetic images.

    python -m benchmarks.gpu [--output=gpu.json] [--models=resnet50,efficientnet_lite0]

Every setting is a run of train.py in a process of its own: networks x precisions x batches a GPU x
what XLA compiles, on one GPU, and the fastest of each network on all GPUs. A row has images/s, the
share of the device's matrix-product peak (measured here, in the same precision), and what one
traced step launches: kernels, and copies between host and device. A setting that fails, for want of
memory for example, has its last line in its row. With --peer_python, an interpreter that has
PyTorch and timm, timm trains the same networks in turn with train.py (AMP, channels_last,
compiled). On a CPU, which --device=cpu asks for, operations are counted in place of kernels.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu import peer, settings
from benchmarks.gpu.settings import Result, Setting
from common import commands, files, paths
from common.commands import at_least

_MODELS = "resnet50,efficientnet_lite0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all settings, prints the table and writes it as JSON; returns the exit code."""
    options = _parser().parse_args(arguments)
    return commands.run(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser("python -m benchmarks.gpu", __doc__, allow_abbrev=False)

    def add_list(name: str, default: str, help: str, kind: Any = str) -> None:
        def read(text: str) -> list:
            return [kind(word) for word in text.split(",")]

        parser.add_argument(name, type=read, default=read(default), help=f"{help} ({default})")

    add_list("--models", _MODELS, "networks")
    add_list("--dtypes", "bfloat16,float16,float32", "precisions")
    add_list("--batch_sizes", "64,256", "images a GPU", at_least(1))
    add_list("--xla", "off,towers,step", "what XLA compiles")
    parser.add_argument("--num_batches", type=at_least(1), default=100, help="timed steps (100)")
    parser.add_argument("--num_gpus", type=at_least(1), help="of the rows for scaling (all)")
    parser.add_argument("--image_size", type=at_least(1), help="in pixels (the network's)")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--peer_python", type=paths.argument, help="interpreter with timm")
    parser.add_argument("--output", type=paths.argument, default=Path("gpu.json"))
    return parser


def _run(options: argparse.Namespace) -> None:
    num_gpus = options.num_gpus or settings.num_devices(options.device)
    peaks = {dtype: settings.peak_tflops(options.device, dtype) for dtype in options.dtypes}
    for dtype, peak in peaks.items():
        print(f"matrix products in {dtype}: {peak:.2f} TFLOP/s", flush=True)
    results: list[Result] = []
    print(settings.HEADING)

    def measure(setting: Setting) -> Result:
        result = settings.measure(setting, options, peaks[setting.dtype])
        results.append(result)
        print(result.row(), flush=True)
        return result

    for model in options.models:
        combinations = itertools.product(options.dtypes, options.batch_sizes, options.xla)
        of_model = [measure(Setting(model, *combination)) for combination in combinations]
        if options.peer_python:
            for dtype, batch in itertools.product(options.dtypes, options.batch_sizes):
                results.append(peer.measure(model, dtype, batch, options))
                print(results[-1].row(), flush=True)
        fastest = max(of_model, key=lambda result: result.images_per_sec)
        if num_gpus > 1 and fastest.images_per_sec:
            many = measure(fastest.setting._replace(num_gpus=num_gpus))
            scaling = many.images_per_sec / (num_gpus * fastest.images_per_sec)
            print(
                f"{model}: {num_gpus} GPUs reach {scaling:.1%} of {num_gpus} times one", flush=True
            )
    record = {
        "device": options.device,
        "peak_tflops": peaks,
        "rows": [r.as_dict() for r in results],
    }
    with files.write_errors(options.output, "give another file with --output"):
        files.write_text(options.output, json.dumps(record, indent=2) + "\n")
    print(f"written: {options.output}")


if __name__ == "__main__":
    sys.exit(main())
