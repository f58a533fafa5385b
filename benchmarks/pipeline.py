"""Speed of the input pipeline, stage by stage: `python -m benchmarks.pipeline --data_dir=DIR`.

read: records in the order of training (with --eval, of the files), not decoded. decode: whole
images of a sample in memory, decoded as fast as the decoder can on all cores, and nothing else.
minimal: a tf.data program that decodes, crops, resizes and batches the files of training, and does
nothing else: no shuffle, label, check or flip. No pipeline on TensorFlow can be much faster.
view: the same sample through the whole pipeline, so without the disk. pipeline: what a run gets.
PIL: the same sample through the same crops with Pillow, one Python process per core, as timm and
torchvision do it; PIL, files: the same from one file per image. All run in rounds; a ratio is taken
within a round, and each figure is the median of the rounds with the lowest and the highest. Per
core is per second of processor time, which other programs on the machine hardly change. The last
line divides the time of an image: every stage is measured together with those before it, and what
it adds is its share.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmark_cnn.params.data_params import VIEW_FLAGS, DataParams
from benchmark_cnn.params.params import FLAGS
from benchmarks.rounds import (
    Candidate,
    Speed,
    measure_speeds,
    ratios,
    spread,
    stream_candidate,
)
from common import commands
from common.commands import above_zero, at_least
from common.process import num_cores, start_tensorflow
from preprocessing import registry
from preprocessing.records.shards import find_shards

if TYPE_CHECKING:
    from preprocessing.record_dataset import RecordDataset

_ROUNDS = 5
RATIOS = (
    ("view", "decode"),
    ("minimal", "decode"),
    ("pipeline", "decode"),
    ("pipeline", "minimal"),
    ("view", "PIL"),
    ("pipeline", "PIL"),
    ("pipeline", "PIL, files"),
)
_OWN_FLAGS = ("train", "eval", "image_size", "batch_size", "seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the command line asks for, prints the tables, returns the exit code."""
    options = _parser().parse_args(arguments)
    return commands.run(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    start_tensorflow()
    import tensorflow as tf

    dataset = _open(options)
    subset = "validation" if options.eval else "train"
    try:
        with contextlib.ExitStack() as stack:
            candidates, stages = _candidates(dataset, options, stack)
            print(
                f"{dataset.name}, {subset}: {options.image_size} px, batch {options.batch_size}, "
                f"{num_cores()} cores, {_ROUNDS} rounds"
            )
            speeds = measure_speeds(
                candidates | stages, rounds=_ROUNDS, secs=options.seconds / _ROUNDS
            )
    except tf.errors.OpError as error:
        raise dataset.explain(error, subset) from error
    _print_speeds({name: speeds[name] for name in candidates})
    stage_speeds = {name: speeds[name] for name in stages} | {"batch": speeds["view"]}
    _print_shares(shares(speeds["read"], stage_speeds))


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser("python -m benchmarks.pipeline", __doc__, allow_abbrev=False)
    parser.add_argument("--data_dir", required=True, help="directory with TFRecord shards")
    parser.add_argument("--data_name", choices=registry.names(), help="guessed when left out")
    split = parser.add_mutually_exclusive_group()
    split.add_argument("--train", action="store_true", help="the training split (default)")
    split.add_argument("--eval", action="store_true", help="the validation split, as eval.py does")
    parser.add_argument("--image_size", type=at_least(1), default=224, help="in pixels")
    parser.add_argument("--batch_size", type=at_least(1), default=64)
    parser.add_argument("--seconds", type=above_zero, default=10.0, help="for each row")
    parser.add_argument("--num_data_threads", type=int)
    parser.add_argument("--shuffle_buffer", type=int, default=10_000, help="in examples")
    group = parser.add_argument_group("views", "as train.py and eval.py take them")
    for flag in (FLAGS[name] for name in VIEW_FLAGS):
        group.add_argument(f"--{flag.name}", type=flag.kind, default=flag.default)
    return parser


def _open(options: argparse.Namespace, **replaced: Any) -> RecordDataset:
    data = {name: value for name, value in vars(options).items() if name not in _OWN_FLAGS}
    # With a directory, which is required here, every data set is a RecordDataset.
    return cast("RecordDataset", registry.open_dataset(DataParams(**{**data, **replaced})))


def _candidates(
    dataset: RecordDataset, options: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[dict[str, Candidate], dict[str, Candidate]]:
    """Returns the rows of the first table, and the stages that they do not include."""
    from benchmarks.pipelines import pipeline_stages as parts

    evaluate, batch_size, image_size = options.eval, options.batch_size, options.image_size
    # A large shuffle buffer would take long to fill, and the sample does not need it.
    sample_of = _open(options, shuffle_buffer=parts.SAMPLE_SIZE)
    sample = parts.in_memory(parts.all_records(sample_of, evaluate=evaluate))
    shape = {"batch_size": batch_size, "image_size": image_size}
    stages = parts.cumulative_stages(dataset, image_size, evaluate=evaluate)
    batched = functools.partial(
        parts.batched, batch_size=batch_size, num_data_threads=options.num_data_threads
    )
    streams = {
        "read": batched(parts.all_records(dataset, evaluate=evaluate), parts.read),
        "decode": batched(sample, parts.decode_whole(dataset.num_classes)),
        "view": batched(sample, stages.pop("batch")),
        "pipeline": dataset.eval_batches(**shape).repeat()
        if evaluate
        else dataset.train_batches(**shape, seed=parts.SEED),
    }
    if parts.has_imagenet_views(dataset) and not evaluate:
        paths = find_shards(dataset.data_dir, "train").paths
        streams["minimal"] = parts.minimal(
            paths, **shape, num_data_threads=options.num_data_threads
        )
    candidates = {
        name: stream_candidate(iter(stream), batch_size) for name, stream in streams.items()
    }
    data = dataset.data
    changes = (data.rotation_degrees, data.random_grayscale, data.random_blur)
    if parts.has_imagenet_views(dataset) and data.augment == "none" and not any(changes):
        from benchmarks.pipelines.pillow_loader import Workers, in_files

        views = parts.baseline_views(data, sample, image_size, evaluate=evaluate)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, source in (("PIL", views), ("PIL, files", in_files(views, directory))):
            workers = Workers(source, image_size, batch_size, num_cores())
            candidates[name] = stack.enter_context(workers).run
    return candidates, {
        name: stream_candidate(iter(batched(sample, stage)), batch_size)
        for name, stage in stages.items()
    }


def _print_speeds(speeds: Mapping[str, Sequence[Speed]]) -> None:
    columns = f"{'median':>10}{'lowest':>10}{'highest':>10}"
    print(f"{'':24}{'examples/s':^30}{'per core':^30}\n{'':24}{columns}{columns}")
    for name, values in speeds.items():
        print(
            f"{name:24}{_columns([v.per_sec for v in values], 0)}"
            f"{_columns([v.per_core for v in values], 0)}"
        )
    for name, baseline in RATIOS:
        if baseline in speeds:
            per_sec, per_core = (
                ratios(*([getattr(v, unit) for v in speeds[row]] for row in (name, baseline)))
                for unit in ("per_sec", "per_core")
            )
            print(f"{f'{name} / {baseline}':24}{_columns(per_sec, 2)}{_columns(per_core, 2)}")


def _columns(values: Sequence[float], digits: int) -> str:
    return "".join(f"{value:10.{digits}f}" for value in spread(values))


def shares(read: Sequence[Speed], stages: Mapping[str, Sequence[Speed]]) -> dict[str, float]:
    """Returns the microseconds of one core that each stage spends on an image.

    Args:
        read: the speed of reading alone in every round.
        stages: the same of every stage together with those before it. The first is the cost of a
            stage that does nothing, and is not listed.
    """
    micros = {"read": spread([1e6 / speed.per_core for speed in read])[0]}
    names = list(stages)
    for name, before in zip(names[1:], names[:-1], strict=True):
        added = [
            1e6 / longer.per_core - 1e6 / shorter.per_core
            for longer, shorter in zip(stages[name], stages[before], strict=True)
        ]
        micros[name] = max(spread(added)[0], 0.0)
    return micros


def _print_shares(micros: Mapping[str, float]) -> None:
    total = sum(micros.values())
    parts = ", ".join(f"{name} {value / total:.0%}" for name, value in micros.items())
    print(f"an image takes {total:.0f} us of a core: {parts}")


if __name__ == "__main__":
    sys.exit(main())
