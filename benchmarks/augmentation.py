"""What the augmentation of images costs the input pipeline.

    python -m benchmarks.augmentation --data_dir=DIR [--image_size=224] [--rounds=7] [--seconds=2]

DIR holds TFRecords of JPEGs, for example those of `python -m benchmarks.photo_set DIR`. The same
sample in memory goes through the whole pipeline with each --augment. They take turns, and a ratio
is taken within a round. Per core is per second of processor time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence

from benchmarks.pipeline_turns import Side, stream_side, take_turns
from common.errors import DataError
from preprocessing import registry
from preprocessing.options import AUGMENTATIONS


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every augmentation in turn, print a table, return the exit code."""
    summary, details = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        "python -m benchmarks.augmentation", description=summary, epilog=details
    )
    parser.add_argument("--data_dir", required=True, help="directory with TFRecord shards")
    parser.add_argument("--image_size", type=int, default=224, help="in pixels")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn (default 2)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        sides = {name: _side(options, name) for name in AUGMENTATIONS}
        speeds = take_turns(sides, rounds=options.rounds, secs=options.seconds)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{'':14}{'images/s per core':>22}{'of none (lowest, highest)':>30}{'us an image':>14}")
    per_core = {name: [speed.per_core for speed in speeds[name]] for name in sides}
    for name, values in per_core.items():
        ratios = [value / plain for value, plain in zip(values, per_core["none"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
        median = statistics.median(values)
        print(f"{name:14}{median:22.0f}{spread:>30}{1e6 / median:14.0f}")
    return 0


def _side(options: argparse.Namespace, augment: str) -> Side:
    dataset = registry.open_dataset(
        data_dir=options.data_dir,
        train_crop="efficientnet",
        augment=augment,
        datasets_repeat_cached_sample=True,
    )
    batches = dataset.train_batches(
        batch_size=options.batch_size, image_size=options.image_size, seed=1
    )
    stream = iter(batches)
    for _ in range(-(-1024 // options.batch_size) + 1):  # what the sample in memory holds
        next(stream)
    return stream_side(stream, options.batch_size)


if __name__ == "__main__":
    sys.exit(main())
