"""Training on JPEG files compared with training on images in memory: what the input costs.

    python -m benchmarks.photo_set /tmp/photos
    python -m benchmarks.input_pipeline --data_dir=/tmp/photos [--rounds=5]

Both candidates run what train.py runs, on EfficientNet-Lite0 with batches of 32 images of 224 px on
one CPU tower; one reads, decodes and crops TFRecords, the other trains on one synthetic batch. Each
has a process of its own, and they run in rounds. The first steps of a round are not measured: their
batches were prepared while the other candidate ran. On a CPU the same cores decode and train, so
the ratio cannot reach 1: decoding takes time even if no step ever waits for its batch. The
data-wait share is the one that the progress bar and TensorBoard show.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence

from benchmark_cnn.params.data_params import DataParams
from benchmarks.rounds import CandidateFailed, CandidateProcess, Run, ratios, run_rounds, spread
from common import commands, process
from common.errors import DataError

MODEL = "efficientnet_lite0"
BATCH_SIZE = 32
UNMEASURED_STEPS, MEASURED_STEPS = 4, 8
ASKED_RATIO = 0.97
SYNTHETIC, RECORDS = "synthetic images", "TFRecords"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints speeds, data-wait shares and the ratio; returns the exit code."""
    options = _parser().parse_args(arguments)
    return commands.run(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    candidates = {
        name: CandidateProcess(train, options.model, options.image_size, data_dir)
        for name, data_dir in ((SYNTHETIC, None), (RECORDS, options.data_dir))
    }
    runs = {name: candidate.run for name, candidate in candidates.items()}
    try:
        run_rounds(runs, 1)  # the first steps compile
        results = run_rounds(runs, options.rounds)
    except CandidateFailed as error:
        raise DataError(str(error)) from error
    finally:
        for candidate in candidates.values():
            candidate.stop()
    _print(results)


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser("python -m benchmarks.input_pipeline", __doc__, allow_abbrev=False)
    parser.add_argument("--data_dir", required=True, help="directory with ImageNet's TFRecords")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--image_size", type=int, default=224, help="in pixels")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    return parser


def train(model: str, image_size: int, data_dir: str | None) -> Run:
    """Returns a run that trains a few steps and returns (images/s, share of data wait)."""
    from benchmark_cnn import training_setup
    from benchmark_cnn.distribution import devices
    from benchmark_cnn.distribution.batches import training_batches
    from benchmark_cnn.params.validation import make_params
    from benchmark_cnn.reporting.speed import Speed
    from benchmark_cnn.step.step_loop import make_step_loop
    from models import registry
    from preprocessing.registry import open_dataset

    params = make_params(
        model=model, device="cpu", batch_size=BATCH_SIZE, image_size=image_size, data_dir=data_dir
    )
    devices.prepare(params.hardware)
    dataset = open_dataset(
        DataParams(data_dir=data_dir, data_name="imagenet", shuffle_buffer=BATCH_SIZE)
    )
    setup = training_setup.set_up(params, registry.get(model), dataset)
    batches = training_batches(
        setup.manager, setup.dataset, batch_size=BATCH_SIZE, image_size=image_size, seed=1
    )
    loop = make_step_loop(setup.step, batches, micro_batches=1)

    def run() -> tuple[float, float]:
        speed = Speed(BATCH_SIZE)
        for step in range(UNMEASURED_STEPS + MEASURED_STEPS):
            started = time.perf_counter()
            values, waited = loop(1, False)
            values.numpy()
            if step >= UNMEASURED_STEPS:
                speed.record(time.perf_counter() - started, 1, float(waited))
        report = speed.report()
        return report.images_per_sec, report.data_wait_share

    return run


def _print(results: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    print(f"{'':32}{'median':>8}{'lowest':>9}{'highest':>9}")
    speeds = {name: [speed for speed, _ in pairs] for name, pairs in results.items()}
    for name, values in speeds.items():
        _print_row(f"{name}, images/s", values, ".1f")
    for name, pairs in results.items():
        _print_row(f"{name}, data wait", [wait for _, wait in pairs], ".2%")
    _print_row(f"{RECORDS} / {SYNTHETIC}", ratios(speeds[RECORDS], speeds[SYNTHETIC]), ".3f")
    print(f"asked: {ASKED_RATIO}")


def _print_row(name: str, values: Sequence[float], form: str) -> None:
    row = spread(values)
    print(f"{name:32}{row[0]:>8{form}}{row[1]:>9{form}}{row[2]:>9{form}}")


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
