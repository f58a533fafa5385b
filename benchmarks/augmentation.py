"""What the augmentation of images costs the input pipeline.

    python -m benchmarks.augmentation --data_dir=DIR [--image_size=224] [--rounds=7] [--seconds=2]

DIR holds TFRecords of JPEGs, for example those of `python -m benchmarks.photo_set DIR`. The same
sample in memory passes through the whole pipeline with each --augment, in rounds, and a ratio is
taken within a round. Per core is per second of processor time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import FLAGS
from benchmarks.rounds import Candidate, measure_speeds, ratios, spread, stream_candidate
from common import commands
from common.process import start_tensorflow
from preprocessing import registry


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures every augmentation, prints a table, returns the exit code."""
    parser = commands.parser("python -m benchmarks.augmentation", __doc__)
    parser.add_argument("--data_dir", required=True, help="directory with TFRecord shards")
    parser.add_argument("--image_size", type=int, default=224, help="in pixels")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    parser.add_argument("--seconds", type=float, default=2.0, help="each a round (default 2)")
    options = parser.parse_args(arguments)
    return commands.run(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    start_tensorflow()
    candidates = {name: _candidate(options, name) for name in FLAGS["augment"].choices}
    speeds = measure_speeds(candidates, rounds=options.rounds, secs=options.seconds)
    print(f"{'':14}{'images/s per core':>22}{'of none (lowest, highest)':>30}{'us an image':>14}")
    per_core = {name: [speed.per_core for speed in speeds[name]] for name in candidates}
    for name, values in per_core.items():
        middle, lowest, highest = spread(ratios(values, per_core["none"]))
        median, _, _ = spread(values)
        share = f"{middle:.2f} ({lowest:.2f}, {highest:.2f})"
        print(f"{name:14}{median:22.0f}{share:>30}{1e6 / median:14.0f}")


def _candidate(options: argparse.Namespace, augment: str) -> Candidate:
    dataset = registry.open_dataset(
        DataParams(
            data_dir=options.data_dir,
            train_crop="efficientnet",
            augment=augment,
            datasets_repeat_cached_sample=True,
        )
    )
    batches = dataset.train_batches(
        batch_size=options.batch_size, image_size=options.image_size, seed=1
    )
    stream = iter(batches)
    for _ in range(-(-1024 // options.batch_size) + 1):  # until the sample is in memory
        next(stream)
    return stream_candidate(stream, options.batch_size)


if __name__ == "__main__":
    sys.exit(main())
