"""Latency of exported files on this machine's CPU: TFLite and ONNX, one image at a time.

    python -m benchmarks.latency lite0.tflite lite0.onnx [--threads=4] [--runs=100] [--json]

Each file has a process of its own. The files take turns, one run each, so that a machine that
slows down for a while slows all of them. Only the call of the runtime is timed, on noise: the time
to read, resize and quantize a photo is not in it. The peak of memory is that of the process while
it opens and runs the file, above what it holds once its runtime is imported.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.exported.latencies import measure, table
from common import commands, process


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a row for each file; returns the exit code."""
    parser = commands.parser("python -m benchmarks.latency", __doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".tflite or .onnx")
    whole = commands.at_least(1)
    parser.add_argument("--threads", type=whole, help="of the runtime; default: one a core")
    parser.add_argument("--runs", type=whole, default=100, help="timed, of each file; default 100")
    parser.add_argument("--warmup", type=whole, default=10, help="runs before them; default 10")
    parser.add_argument("--image_size", type=whole, help="for files that take any, in pixels")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of the table")
    options = parser.parse_args(arguments)
    return commands.run(lambda: _report(options))


def _report(options: argparse.Namespace) -> None:
    threads = options.threads or process.num_cores()
    rows = measure(
        options.files,
        threads=threads,
        runs=options.runs,
        warmup=options.warmup,
        image_size=options.image_size,
    )
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print("\n".join(table(rows)))


if __name__ == "__main__":
    sys.exit(main())
