"""Training on JPEG files beside training on images that are in memory: what the input costs.

    python -m benchmarks.photo_set /tmp/photos
    python -m benchmarks.input_pipeline --data_dir=/tmp/photos [--rounds=5]

Both sides are what train.py runs, on EfficientNet-Lite0 with batches of 32 images of 224 px on one
CPU tower; one side reads, decodes and crops TFRecords, the other trains on one synthetic batch.
Each has a process of its own and they take turns. The first steps of a turn are not measured: their
batches were prepared while the other side worked. On a CPU the same cores decode and train, so the
ratio cannot reach one: what decoding takes is lost even if no step ever waits for its batch. The
data-wait share is the one that the progress bar and TensorBoard show.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from ctypes import Array, c_double
from typing import Any

from benchmarks.turns import Side, SideFailed, Turn
from common import process

MODEL = "efficientnet_lite0"
BATCH_SIZE = 32
UNMEASURED_STEPS, MEASURED_STEPS = 4, 8
ASKED_RATIO = 0.97
SYNTHETIC, RECORDS = "synthetic images", "TFRecords"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print speeds, data-wait shares and the ratio; returns the exit code."""
    options = _parser().parse_args(arguments)
    measurements = {name: Measurements() for name in (SYNTHETIC, RECORDS)}
    data_dirs = {SYNTHETIC: None, RECORDS: options.data_dir}
    sides = {
        name: Side(train, options.model, options.image_size, data_dirs[name], own.latest)
        for name, own in measurements.items()
    }
    try:
        for side in sides.values():
            side.take_turn()
        for number in range(options.rounds):
            for name in sorted(sides, reverse=bool(number % 2)):
                sides[name].take_turn()
                measurements[name].collect()
    except SideFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    finally:
        for side in sides.values():
            side.stop()
    _print(measurements)
    return 0


class Measurements:
    """What a side tells of its turns through shared memory."""

    def __init__(self) -> None:
        self.latest: Any = multiprocessing.get_context("spawn").Array("d", 2)
        self.speeds: list[float] = []
        self.wait_shares: list[float] = []

    def collect(self) -> None:
        """Keep what the last turn has told."""
        images_per_sec, wait_share = self.latest
        self.speeds.append(images_per_sec)
        self.wait_shares.append(wait_share)


def _parser() -> argparse.ArgumentParser:
    summary, details = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        "python -m benchmarks.input_pipeline",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data_dir", required=True, help="TFRecords of ImageNet's kind")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--image_size", type=int, default=224, help="in pixels")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    return parser


def train(model: str, image_size: int, data_dir: str | None, latest: Array[c_double]) -> Turn:
    """A side: trains, and writes images/s and the data-wait share of a turn to `latest`."""
    from benchmark_cnn import training_setup
    from benchmark_cnn.distribution import batches as feeding
    from benchmark_cnn.distribution import devices
    from benchmark_cnn.params.validation import make_params
    from benchmark_cnn.step.step_loop import make_step_loop
    from models import registry
    from preprocessing.registry import open_dataset

    params = make_params(
        model=model, device="cpu", batch_size=BATCH_SIZE, image_size=image_size, data_dir=data_dir
    )
    devices.prepare(params.hardware)
    dataset = open_dataset(data_dir=data_dir, data_name="imagenet", shuffle_buffer=BATCH_SIZE)
    run = training_setup.set_up(params, registry.get(model), dataset)
    batches = feeding.training_batches(
        run.manager, run.dataset, batch_size=BATCH_SIZE, image_size=image_size, seed=1
    )
    return functools.partial(_turn, make_step_loop(run.step, batches, micro_batches=1), latest)


def _turn(loop: Callable, latest: Array[c_double]) -> None:
    from benchmark_cnn.reporting.speed import Speed

    speed = Speed(BATCH_SIZE)
    for step in range(UNMEASURED_STEPS + MEASURED_STEPS):
        started = time.perf_counter()
        values, waited = loop(1, False)
        values.numpy()
        if step >= UNMEASURED_STEPS:
            speed.record(time.perf_counter() - started, 1, float(waited))
    report = speed.report()
    latest[:] = [report.images_per_sec, report.data_wait_share]


def _print(measurements: dict[str, Measurements]) -> None:
    print(f"{'':32}{'median':>8}{'lowest':>9}{'highest':>9}")
    for name, own in measurements.items():
        _print_row(f"{name}, images/s", own.speeds, ".1f")
    for name, own in measurements.items():
        _print_row(f"{name}, data wait", own.wait_shares, ".2%")
    pairs = zip(measurements[RECORDS].speeds, measurements[SYNTHETIC].speeds, strict=True)
    _print_row(f"{RECORDS} / {SYNTHETIC}", [ours / theirs for ours, theirs in pairs], ".3f")
    print(f"asked: {ASKED_RATIO}")


def _print_row(name: str, values: Sequence[float], form: str) -> None:
    row = (statistics.median(values), min(values), max(values))
    print(f"{name:32}{row[0]:>8{form}}{row[1]:>9{form}}{row[2]:>9{form}}")


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
