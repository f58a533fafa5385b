"""Speed of the input pipeline, stage by stage: `python -m preprocessing.benchmark --data_dir=DIR`.

read: records in the order of training (with --eval, of the files), not decoded. decode: whole
images of a sample in memory. view: the same sample through crop, resize and batching, so without
the disk. pipeline: what a run gets. Each figure is the median of five stretches, with the slowest
and the fastest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from preprocessing import registry
from preprocessing.errors import DataError
from preprocessing.options import AUGMENTATIONS, EVAL_METHODS, RESIZE_METHODS, TRAIN_CROPS

if TYPE_CHECKING:
    import tensorflow as tf

    from preprocessing.record_dataset import RecordDataset

_NUM_STRETCHES = 5
_NUM_WARMUP_BATCHES = 3
_SEED = 1


@dataclass(frozen=True)
class Speed:
    """Examples per second: the median, the slowest and the fastest stretch."""

    median: float
    slowest: float
    fastest: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for, print a table, return the exit code."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    num_cores = _num_cores()
    try:
        name, stages = _stages(options)
        subset = "validation" if options.eval else "train"
        print(f"{name}, {subset}: {options.image_size} px, batch {options.batch_size}, ", end="")
        print(f"{num_cores} cores")
        print(f"{'':10}{'examples/s':>12}{'slowest':>10}{'fastest':>10}{'per core':>10}")
        for stage, make in stages.items():
            speed = measure(iter(make()), options.batch_size, options.seconds)
            columns = (speed.median, speed.slowest, speed.fastest, speed.median / num_cores)
            print(f"{stage:10}{columns[0]:12.0f}" + "".join(f"{c:10.0f}" for c in columns[1:]))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _num_cores() -> int:
    """Cores that this process may use; macOS does not tell, and gives all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def measure(batches: Iterator, batch_size: int, seconds: float) -> Speed:
    """The speed of an endless iterator over about `seconds`, after a few batches of warm-up."""
    for _ in range(_NUM_WARMUP_BATCHES):
        next(batches)
    speeds = []
    for _ in range(_NUM_STRETCHES):
        num_batches, started = 0, time.perf_counter()
        elapsed = 0.0
        while elapsed < seconds / _NUM_STRETCHES:
            next(batches)
            num_batches += 1
            elapsed = time.perf_counter() - started
        speeds.append(num_batches * batch_size / elapsed)
    return Speed(statistics.median(speeds), min(speeds), max(speeds))


def _parser() -> argparse.ArgumentParser:
    summary, details = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        "python -m preprocessing.benchmark", description=summary, epilog=details, allow_abbrev=False
    )
    parser.add_argument("--data_dir", required=True, help="directory with TFRecord shards")
    parser.add_argument("--data_name", choices=registry.names(), help="guessed when left out")
    parser.add_argument("--eval", action="store_true", help="the validation split, as eval.py does")
    parser.add_argument("--image_size", type=int, default=224, help="in pixels")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each stage")
    parser.add_argument("--num_data_threads", type=int)
    parser.add_argument("--shuffle_buffer", type=int, default=10_000, help="in examples")
    parser.add_argument("--train_crop", choices=TRAIN_CROPS, default="inception")
    parser.add_argument("--eval_method", choices=EVAL_METHODS, default="vgg")
    parser.add_argument("--resize_method", choices=RESIZE_METHODS, default="bilinear")
    parser.add_argument("--augment", choices=AUGMENTATIONS, default="none")
    return parser


def _stages(
    options: argparse.Namespace,
) -> tuple[str, dict[str, Callable[[], tf.data.Dataset]]]:
    """The data set's name, and what makes the endless batches of each stage."""
    from preprocessing.benchmark_stages import decoded_shapes, record_sizes

    dataset = _open(options, repeat_cached_sample=False)
    shape = {"batch_size": options.batch_size, "image_size": options.image_size}
    if options.eval:
        records = dataset.eval_records().repeat()
        return dataset.name, {
            "read": lambda: record_sizes(records, options.batch_size),
            "decode": lambda: decoded_shapes(records, dataset.num_classes, options.batch_size),
            "pipeline": lambda: dataset.eval_batches(**shape).repeat(),
        }
    sample = _open(options, repeat_cached_sample=True)
    records = dataset.train_records(seed=_SEED).map(lambda placed: placed.record)
    return dataset.name, {
        "read": lambda: record_sizes(records, options.batch_size),
        "decode": lambda: decoded_shapes(records, dataset.num_classes, options.batch_size),
        "view": lambda: sample.train_batches(**shape, seed=_SEED),
        "pipeline": lambda: dataset.train_batches(**shape, seed=_SEED),
    }


def _open(options: argparse.Namespace, *, repeat_cached_sample: bool) -> RecordDataset:
    data: dict[str, Any] = dict(vars(options))
    for name in ("eval", "image_size", "batch_size", "seconds"):
        del data[name]
    data["datasets_repeat_cached_sample"] = repeat_cached_sample
    # With a directory, which is a required argument, every data set is made of records.
    return cast("RecordDataset", registry.open_dataset(**data))


if __name__ == "__main__":
    sys.exit(main())
