"""Compares the time of steps while a checkpoint is being saved with that of the other steps.

It trains on synthetic images. A step counts as one during a save if the thread that saves was alive
at its begin or its end; the copy of the tensors to the host is part of the first of them.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

from common import commands, process

if __name__ == "__main__":
    process.restart_with_defaults()

_SKIPPED_STEPS = 5  # the first ones compile and warm caches


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name) and returns the exit code."""
    parser = commands.parser("python -m benchmarks.survival.saving", __doc__)
    positive = commands.at_least(1)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--image_size", type=positive, default=96)
    parser.add_argument("--batch_size", type=positive, default=16)
    parser.add_argument("--num_gpus", type=positive, default=1)
    parser.add_argument("--num_batches", type=positive, default=120)
    parser.add_argument("--save_model_steps", type=positive, default=10)
    parser.add_argument("--train_dir", help="where to save (default: a temporary directory)")
    return commands.run(lambda: _compare(vars(parser.parse_args(argv))))


def _compare(flags: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        flags["train_dir"] = flags["train_dir"] or folder
        during, others = _step_times(flags)
    for name, seconds in (("during a save", during), ("others", others)):
        times = (statistics.median(seconds), statistics.mean(seconds), max(seconds))
        median, mean, longest = (f"{1000 * value:8.1f} ms" for value in times)
        commands.write_line(
            f"{name:<14} {len(seconds):>4} steps  median {median}  mean {mean}  longest {longest}"
        )
    for name, average in (("median", statistics.median), ("mean", statistics.mean)):
        ratio = average(during) / average(others)
        commands.write_line(f"{name} of steps during a save, relative to the others: {ratio:.3f}")


def _step_times(flags: dict) -> tuple[list[float], list[float]]:
    """Returns the seconds of steps during saves and of the others."""
    with process.quiet_startup():
        from benchmark_cnn import training
        from benchmark_cnn.params.validation import make_params
        from benchmark_cnn.reporting import console
        from checkpoints import background
        from models import registry
        from preprocessing.registry import open_dataset

    params = make_params(display_every=1, optimizer="rmsprop", moving_average_decay=0.99, **flags)
    during: list[float] = []
    others: list[float] = []
    state = {"step": 0, "time": 0.0, "saves": False}

    def on_line(line: str) -> None:
        if not line.split("\t")[0].isdigit():
            return
        now, saves = time.perf_counter(), background.is_saving()
        state["step"] += 1
        if state["step"] > _SKIPPED_STEPS:
            # A save begins right after the line of its step.
            begins = (state["step"] - 1) % flags["save_model_steps"] == 0
            is_during = saves or state["saves"] or begins
            (during if is_during else others).append(now - state["time"])
        state["time"], state["saves"] = now, saves

    with console.routed_through(on_line):
        dataset = open_dataset(params.data, default_subset="train")
        training.train(params, registry.get(flags["model"]), dataset)
    return during, others


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
