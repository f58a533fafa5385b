"""The lines on stdout, in the format of tf_cnn_benchmarks: tools of others parse them.

A step line, split at white space, has the step in [0], images/s in [2], its uncertainty in [4], the
loss in [8] and, where accuracy is printed, top-1 and top-5 in [9] and [10].
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmark_cnn.reporting.speed import SpeedReport

GENERATING_TRAINING_MODEL = "Generating training model"
GENERATING_EVALUATION_MODEL = "Generating evaluation model"
INITIALIZING = "Initializing graph"
WARMING_UP = "Running warm up"
WARMED_UP = "Done warm up"
RESUMING_TRAINING = "Resuming training"
DONE_WITH_TRAINING = "Done with training"

_RULE = "-" * 64
_WITH_ALL_REDUCE = ("replicated", "distributed_all_reduce", "collective_all_reduce")


@dataclass(frozen=True, kw_only=True)
class HeaderFacts:
    """What the header says about a run.

    tensorflow_version: "2.21.0"; the header shows major and minor.
    mode: "training", "evaluation", "forward only" or "training + evaluation".
    batch_size_per_device: examples that a tower takes at once.
    num_devices: towers of one worker.
    accumulation_steps: batches a tower takes before an update.
    devices: TensorFlow's names, "/device:GPU:0", or the short ones, "/gpu:0".
    all_reduce: --all_reduce_spec.
    synchronous: whether workers wait for one another; None without a cluster.
    """

    tensorflow_version: str
    model: str
    dataset: str
    synthetic: bool
    mode: str
    batch_size_per_device: int
    num_devices: int
    num_batches: int
    num_epochs: float
    devices: Sequence[str]
    data_format: str
    optimizer: str
    variables: str
    all_reduce: str | None = None
    accumulation_steps: int = 1
    num_workers: int = 1
    synchronous: bool | None = None

    @property
    def global_batch_size(self) -> int:
        per_worker = self.batch_size_per_device * self.num_devices * self.accumulation_steps
        return per_worker * self.num_workers


def header_lines(facts: HeaderFacts) -> list[str]:
    """The block that opens a run, down to the line of equals signs."""
    dataset = facts.dataset + (" (synthetic)" if facts.synthetic else "")
    lines = [
        _fact("TensorFlow", ".".join(facts.tensorflow_version.split(".")[:2])),
        _fact("Model", facts.model),
        _fact("Dataset", dataset),
        _fact("Mode", facts.mode),
        _fact("SingleSess", False),
        _fact("Batch size", f"{facts.global_batch_size} global"),
        _more(f"{facts.batch_size_per_device} per device"),
    ]
    if facts.accumulation_steps > 1:
        lines.append(_more(f"{facts.accumulation_steps} batches accumulated per update"))
    lines += [
        _fact("Num batches", facts.num_batches),
        _fact("Num epochs", f"{facts.num_epochs:.2f}"),
        _fact("Devices", [_short_device(device) for device in facts.devices]),
        _fact("NUMA bind", False),
        _fact("Data format", facts.data_format),
        _fact("Optimizer", facts.optimizer),
        _fact("Variables", facts.variables),
    ]
    if facts.variables in _WITH_ALL_REDUCE:
        lines.append(_fact("AllReduce", facts.all_reduce))
    if facts.synchronous is not None:
        lines.append(_fact("Sync", facts.synchronous))
    return [*lines, "=" * 10]


def column_header(with_accuracy: bool = False) -> str:
    """The line above the step lines."""
    columns = ["Step", "Img/sec", "total_loss"]
    if with_accuracy:
        columns += ["top_1_accuracy", "top_5_accuracy"]
    return "\t".join(columns)


def step_line(
    step: int,
    speed: SpeedReport,
    loss: float,
    top_1: float | None = None,
    top_5: float | None = None,
) -> str:
    """A line of training; accuracies are fractions and left out when None."""
    line = (
        f"{step}\timages/sec: {speed.images_per_sec:.1f} +/- {speed.uncertainty:.1f} "
        f"(jitter = {speed.jitter:.1f})\t{loss:.3f}"
    )
    if top_1 is not None and top_5 is not None:
        line += f"\t{top_1:.3f}\t{top_5:.3f}"
    return line


def total_lines(images_per_sec: float) -> list[str]:
    """The block that closes a run."""
    return [_RULE, f"total images/sec: {images_per_sec:.2f}", _RULE]


def skipped_line(skipped_steps: int, step: int) -> str:
    """What a run whose guard had to act says at its end."""
    return (
        f"Skipped:    {skipped_steps} of {step} steps, which changed nothing: "
        "their gradients were not finite"
    )


def closing_lines(
    train_dir: str | os.PathLike[str],
    result: Mapping[str, float],
    moving_average_decay: float | None,
) -> list[str]:
    """What a finished run learned, where to look at it, and what to type next."""
    lines = [f"Trained to step {result['global_step']}: {train_dir}"]
    if "top_1" in result:
        weights = "averaged weights" if moving_average_decay else "weights"
        lines.append(
            f"Learned:    top-1 {result['top_1']:.2%}, top-5 {result['top_5']:.2%} "
            f"on the validation images, with the {weights}"
        )
    average = f" --moving_average_decay={moving_average_decay:g}" if moving_average_decay else ""
    return [
        *lines,
        f"Curves:     {os.path.join(train_dir, 'curves.png')}, or tensorboard --logdir={train_dir}",
        f"Next:       python eval.py --train_dir={train_dir}{average}",
    ]


def resuming_line(prefix: str, step: int) -> str:
    return f"Resuming from {prefix} at step {step}"


def another_batch_line(before: float, now: int, total_steps: int, epochs: float) -> str:
    """What a run is told that resumes with another global batch.

    Args:
      before: examples per step up to here; a mean, if it was changed before.
      total_steps, epochs: where the run will end.
    """
    return (
        f"Warning: the global batch was {before:g} and is now {now}. Steps are counted, not "
        f"epochs: the learning rate goes by the step, and the run ends at step {total_steps}, "
        f"after {epochs:.2f} epochs"
    )


def finished_line(step: int) -> str:
    """What a run that was started again after its end has to say."""
    return (
        f"This run is finished: it is at step {step} and no more were asked for; "
        "a larger --num_epochs or --num_batches trains on"
    )


def evaluation_step_line(step: int, examples_per_sec: float) -> str:
    return f"{step}\t{examples_per_sec:.1f} examples/sec"


def accuracy_line(top_1: float, top_5: float, num_examples: int) -> str:
    """The result of an evaluation; accuracies are fractions."""
    return f"Accuracy @ 1 = {top_1:.4f} Accuracy @ 5 = {top_5:.4f} [{num_examples} examples]"


def running_evaluation_line(global_step: int) -> str:
    return f"Running evaluation at global_step {global_step}"


def log(*lines: str) -> None:
    """Print `lines` at once: a pipe or a log file sees them when they happen."""
    for line in lines:
        _destination(line)


@contextlib.contextmanager
def routed_through(destination: Callable[[str], None]) -> Iterator[None]:
    """Until the block ends, `log` hands its lines to `destination` (a live progress bar)."""
    global _destination
    previous, _destination = _destination, destination
    try:
        yield
    finally:
        _destination = previous


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


_destination: Callable[[str], None] = _write


def _fact(name: str, value: object) -> str:
    return f"{name + ':':<13}{value}"


def _more(text: str) -> str:
    return " " * 13 + text


def _short_device(name: str) -> str:
    """ "/device:GPU:0" -> "/gpu:0", as the ancestors print it."""
    match = re.fullmatch(r"(.*)/device:([A-Za-z]+):(\d+)", name)
    return f"{match[1]}/{match[2].lower()}:{match[3]}" if match else name
