"""Measures the latency of exported files: each in a process, all in turn."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exported import timing
from benchmarks.exported.timing import Timing
from benchmarks.rounds import CandidateFailed, CandidateProcess, run_rounds
from common.errors import DataError
from inference.artifacts import ONNX, TFLITE, backend_of

_MB = 1e6


def measure(
    files: Sequence[Path],
    *,
    threads: int,
    runs: int,
    warmup: int = 10,
    image_size: int | None = None,
) -> list[dict[str, Any]]:
    """Returns a row for each file: `median_ms`, `p99_ms`, `file_mb`, `peak_mb` and how.

    Raises:
        DataError: A file is missing, damaged, or neither TFLite nor ONNX.
    """
    for path in files:
        if not path.is_file():
            raise DataError(f"{path} does not exist")
        if backend_of(path) not in (TFLITE, ONNX):
            raise DataError(f"{path} is not a TFLite file or an .onnx file")
    paths = list(dict.fromkeys(files))
    processes = {
        path: CandidateProcess(timing.make, path, threads, image_size, warmup) for path in paths
    }
    try:
        timings = run_rounds({str(path): _naming(p, path) for path, p in processes.items()}, runs)
    finally:
        for candidate in processes.values():
            candidate.stop()
    return [row_of(path, threads, timings[str(path)]) for path in paths]


def _naming(candidate: CandidateProcess, path: Path) -> Any:
    def run() -> Timing:
        try:
            return candidate.run()
        except CandidateFailed as error:
            kind, _, text = str(error).partition(": ")
            ours = kind in ("DataError", "UsageError")
            raise DataError(text if ours else f"{path} cannot be run: {error}") from None

    return run


def row_of(path: Path, threads: int, timings: Sequence[Timing]) -> dict[str, Any]:
    milliseconds = [1000 * value for timing in timings for value in timing.seconds]
    return {
        "file": str(path),
        "runtime": timings[0].runtime,
        "input": timings[0].input,
        "threads": threads,
        "runs": len(milliseconds),
        "median_ms": round(statistics.median(milliseconds), 3),
        "p99_ms": round(float(np.percentile(milliseconds, 99)), 3),
        "file_mb": round(path.stat().st_size / _MB, 3),
        "peak_mb": round(max(timing.peak_bytes for timing in timings) / _MB, 1),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the lines of the table."""
    columns = {
        "file": "file",
        "runtime": "runtime",
        "input": "input",
        "median_ms": "median ms",
        "p99_ms": "p99 ms",
        "file_mb": "file MB",
        "peak_mb": "peak MB",
    }
    numbers = {name for name in columns if name.endswith(("_ms", "_mb"))}
    cells = [list(columns.values())] + [
        [f"{row[name]:.2f}" if name in numbers else str(row[name]) for name in columns]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if name in numbers else cell.ljust(width)
            for name, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in cells
    ]
    first = rows[0]
    return [f"batch 1, {first['threads']} threads, {first['runs']} runs of each file", *lines]
