"""The lines on stdout: those of tf_cnn_benchmarks, which other tools parse, and ours after them.

A step line, split at white space, has the step in [0], images/s in [2], its uncertainty in [4], the
loss in [8] and, if accuracy is printed, top-1 and top-5 in [9] and [10].
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark_cnn.params.values import parse_all_reduce_spec
from benchmark_cnn.reporting.speed import SpeedReport
from common import commands, paths

if TYPE_CHECKING:  # these import TensorFlow, which takes seconds
    from benchmark_cnn.distribution.devices import Devices
    from benchmark_cnn.fine_tuning.plan import FineTuning
    from benchmark_cnn.interfaces import Dataset, Network, NetworkSpec
    from benchmark_cnn.params.hardware_params import HardwareParams
    from benchmark_cnn.params.params import Params
    from benchmark_cnn.run import RunPlan

GENERATING_TRAINING_MODEL = "Generating training model"
GENERATING_EVALUATION_MODEL = "Generating evaluation model"
INITIALIZING = "Initializing graph"
WARMING_UP = "Running warm up"
WARMED_UP = "Done warm up"
RESUMING_TRAINING = "Resuming training"
DONE_WITH_TRAINING = "Done with training"

_MOST_CLASSES = 5
_TRIVIAL = "top-5 and accuracy @ 5 say nothing: they need more than 5 classes"
_RULE = "-" * 64
_ROUNDED = "8 bits, as its file of export.py --quantize=int8"


def header_lines(
    params: Params,
    spec: NetworkSpec,
    dataset: Dataset,
    devices: Devices,
    plan: RunPlan,
    *,
    mode: str,
) -> list[str]:
    """Returns the block that opens a run, down to the line of equals signs.

    Args:
        mode: "training", "training + evaluation", "forward only" or "evaluation".
    """
    import tensorflow as tf

    hardware, evaluates_only = params.hardware, mode == "evaluation"
    lines = [
        _fact("TensorFlow", ".".join(tf.__version__.split(".")[:2])),
        _fact("Model", spec.name),
        _fact("Dataset", dataset.name + (" (synthetic)" if dataset.synthetic else "")),
        _fact("Mode", mode),
        _fact("SingleSess", False),  # parsers expect it, and NUMA bind
        _fact("Batch size", f"{plan.global_batch} global"),
        _more(f"{plan.batch_per_tower} per device"),
    ]
    if params.data.batch_size is None and plan.batch_per_tower < spec.batch_size:
        lines.append(_more(f"the default on a CPU; {spec.name}'s is {spec.batch_size}"))
    if plan.micro_batches > 1:
        lines.append(_more(f"{plan.micro_batches} batches accumulated per update"))
    num_workers = plan.num_towers // len(devices.towers)
    # An evaluation pads its last batch: it is one epoch, not a little more.
    num_epochs = 1.0 if evaluates_only else plan.num_epochs
    lines += [
        _fact("Num batches", plan.total_steps - plan.warmup_steps),
        _fact("Num epochs", f"{num_epochs:.2f}"),
        _fact("Devices", [_short_device(device) for device in devices.towers]),
        *([_more(f"on each of {num_workers} workers")] if num_workers > 1 else []),
        _fact("NUMA bind", False),
        _fact("Data format", params.network.data_format),
        *([_fact("Precision", _ROUNDED)] if params.network.quantization_aware else []),
        _fact("Optimizer", "none" if evaluates_only else params.optimization.optimizer),
        _fact("Variables", hardware.variable_update),
        *_parameter_servers(hardware, devices),
    ]
    between = hardware.variable_update == "collective_all_reduce"
    if between or hardware.variable_update == "replicated":
        default = parse_all_reduce_spec(None, devices.kind, between_machines=between)
        spec_in_use = hardware.all_reduce_spec or default.algorithm
        lines.append(_fact("AllReduce", "none" if evaluates_only else spec_in_use))
    return [*lines, "=" * 10]


def _parameter_servers(hardware: HardwareParams, devices: Devices) -> list[str]:
    """Returns which of the two kinds of `parameter_server` a run is."""
    if hardware.variable_update != "parameter_server":
        return []
    if not devices.parameter_device.startswith("/job:"):
        where = _short_device(devices.parameter_device)
        return [_more(f"one copy on {where}, the towers are synchronous")]
    return [_more(f"on parameter servers; asynchronous, {len(devices.towers)} workers")]


def about_lines(about: Mapping[str, Any], schedule: str) -> list[str]:
    """Returns what a training on real images decided, by `identity.of_start`.

    They follow tf_cnn_benchmarks' block, whose lines other programs read, and need no knowledge
    of it.
    """
    run, data = about["run"], about["data"]
    epochs = run["total_steps"] / run["steps_per_epoch"]
    which = "all training images once"
    if run["balanced_sampling"]:
        which = "training images of each class equally often"
    if run["augmentation_repeats"] > 1:
        which = f"{run['augmentation_repeats']} views of each image that it draws"
    lines = [
        _fact("Images", f"{data['title']}: {images(data['examples'])}"),
        _fact("Classes", classes(run["classes"], about["class_names"]).replace(" classes", "", 1)),
        _fact("Parameters", f"{run['parameters']:,}"),
        _fact(
            "Epoch",
            f"{which}: {run['steps_per_epoch']:,.1f} steps of {run['global_batch']:,} images",
        ),
        _fact("End", f"at step {run['total_steps']:,}, after {epochs:,.2f} epochs"),
        _fact("Loss", run["loss"]),
        _fact("Rate", f"learning rate {run['learning_rate']:g} at first, {schedule}"),
        _fact("Checkpoint", f"{run['checkpoint_bytes'] / 1e6:,.1f} MB"),
    ]
    if top_5_is_trivial(run["classes"]):
        lines.insert(2, _more(_TRIVIAL))
    return lines


def fine_tuning_lines(fine_tuning: FineTuning, network: Network) -> list[str]:
    """Returns how many of the parameters are trained, and at which rates; [] if as always."""
    size = {name: network.variables[name].shape.num_elements() for name in network.trainable}
    lines = []
    if fine_tuning.frozen:
        trained = sum(count for name, count in size.items() if name not in fine_tuning.frozen)
        total = sum(size.values())
        then = "" if fine_tuning.until is None else f" until step {fine_tuning.until:,}, then all"
        lines.append(
            f"{trained:,} of {total:,} parameters ({trained / total:.1%}) are trained{then}"
        )
    if fine_tuning.rates:
        low, high = (choose(fine_tuning.rates.values()) for choose in (min, max))
        spread = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        lines.append(f"the backbone at {spread} of the learning rate")
    first = [_fact("Fine-tuning", lines[0])] if lines else []
    return first + [_more(line) for line in lines[1:]]


def top_5_is_trivial(num_classes: int) -> bool:
    """Returns whether any five answers hold the right one; five columns are printed even so."""
    return num_classes <= 5


def column_header(with_accuracy: bool = False, with_staleness: bool = False) -> str:
    """Returns the line above the step lines."""
    columns = ["Step", "Img/sec", "total_loss"]
    if with_accuracy:
        columns += ["top_1_accuracy", "top_5_accuracy"]
    if with_staleness:
        columns += ["staleness_mean", "staleness_max"]
    return "\t".join(columns)


def step_line(
    step: int,
    speed: SpeedReport,
    loss: float,
    top_1: float | None = None,
    top_5: float | None = None,
) -> str:
    """Returns a line of training; accuracies are fractions, and None leaves them out."""
    line = (
        f"{step}\timages/sec: {speed.images_per_sec:.1f} +/- {speed.uncertainty:.1f} "
        f"(jitter = {speed.jitter:.1f})\t{loss:.3f}"
    )
    if top_1 is not None and top_5 is not None:
        line += f"\t{top_1:.3f}\t{top_5:.3f}"
    return line


def staleness_columns(mean: float, most: int) -> str:
    """Returns the end of a line of asynchronous training; see Staleness."""
    return f"\t{mean:.2f}\t{most}"


def staleness_line(mean: float, most: int) -> str:
    """Returns the staleness of a whole start."""
    return (
        f"Staleness:  {mean:.2f} updates in the mean, {most} at most, by other workers between "
        "the reading of the weights and a step's own update"
    )


def total_lines(images_per_sec: float) -> list[str]:
    """Returns the block that closes a run."""
    return [_RULE, f"total images/sec: {images_per_sec:.2f}", _RULE]


def skipped_line(skipped_steps: int, step: int) -> str:
    """Returns the last line of a run that skipped steps."""
    return (
        f"Skipped:    {skipped_steps} of {step} steps, which changed nothing: "
        "their gradients were not finite"
    )


def closing_lines(
    train_dir: str | os.PathLike[str],
    result: Mapping[str, Any],
    *,
    num_classes: int,
    classes: Sequence[str] = (),
    synthetic: bool = False,
) -> list[str]:
    """Returns the accuracy of a finished run, where its pictures are, and the next commands.

    Args:
        result: of the last evaluation, with its `global_step`.
        classes: lines on the classes, see class_report.py; there is then a picture of them.
        synthetic: the run names no data, so that its evaluation needs them.
    """
    lines = [f"Trained to step {result['global_step']}: {paths.one_line(os.fspath(train_dir))}"]
    if "top_1" in result:
        count = f"{result['examples']:,} " if "examples" in result else ""
        top_5 = "" if top_5_is_trivial(num_classes) else f", top-5 {result['top_5']:.2%}"
        precision = ""
        if "mean_average_precision" in result:
            precision = f"mean average precision {result['mean_average_precision']:.2%}, "
        lines.append(
            f"Learned:    {precision}top-1 {result['top_1']:.2%}{top_5} on the {count}validation "
            f"images, with the {weights_in_words(result['weights'])}"
        )
    test = []
    if "test_top_1" in result:
        top_5 = "" if top_5_is_trivial(num_classes) else f", top-5 {result['test_top_5']:.2%}"
        test.append(
            f"Test:       top-1 {result['test_top_1']:.2%}{top_5} on the "
            f"{result['test_examples']:,} test images, which chose nothing"
        )
    run = paths.quoted(train_dir)
    curves, confusion = (
        paths.quoted(os.path.join(train_dir, name)) for name in ("curves.png", "confusion.png")
    )
    following = [f"python eval.py --train_dir={run}"]
    if synthetic:
        following = [f"python eval.py --train_dir={run} --data_dir=DIR"]
    elif "top_1" in result:
        following = [
            f"python prediction.py --train_dir={run} PHOTO",
            f"python export.py --train_dir={run} --output_tflite=FILE",
            *following,
        ]
    return [
        *lines,
        *classes,
        *test,
        f"Curves:     {curves}, or tensorboard --logdir={run}",
        *([f"Confusion:  {confusion}"] if classes else []),
        *(f"{'' if number else 'Next:':12}{command}" for number, command in enumerate(following)),
    ]


def weights_in_words(weights: str) -> str:
    """Returns "moving average" or "raw", as run.json has it, as the words of a line."""
    return "averaged weights" if weights == "moving average" else f"{weights} weights"


def images(examples: Mapping[str, int]) -> str:
    """Returns the number of images of each split: "1,438 train and 359 validation images"."""
    *first, last = [f"{count:,} {split}" for split, count in examples.items()]
    return " and ".join(filter(None, [", ".join(first), last])) + " images"


def classes(number: int, names: Sequence[str]) -> str:
    """Returns the number of classes and their first names: "10 classes: cat, dog, ..."."""
    more = ", ..." if len(names) > _MOST_CLASSES else ""
    return f"{number:,} classes" + (f": {', '.join(names[:_MOST_CLASSES])}{more}" if names else "")


def resuming_line(prefix: str, step: int) -> str:
    return f"Resuming from {paths.one_line(prefix)} at step {step}"


def another_batch_line(before: int, now: int, total_steps: int, epochs: float) -> str:
    """Returns the warning of a run that resumes with another global batch.

    Args:
        before: the batch of the last start.
        total_steps, epochs: where the run will end.
    """
    return (
        f"Warning: the global batch was {before} and is now {now}. Steps are counted, not "
        f"epochs: the learning rate follows the step, and the run ends at step {total_steps}, "
        f"after {epochs:.2f} epochs"
    )


def finished_line(step: int) -> str:
    """Returns the line of a run that is started again after its end."""
    return (
        f"This run is finished: it is at step {step}; "
        "raise --num_epochs or --num_batches to train longer"
    )


def evaluating_lines(
    prefix: str, weights: str, examples: Mapping[str, int], num_classes: int
) -> list[str]:
    """Returns what an evaluation is of; see `weights_in_words` and `images`."""
    advice = ""
    if weights == "moving average":
        advice = " (--moving_average_decay=0: the raw ones)"
    what = f"{weights_in_words(weights)}{advice}, {images(examples)}"
    lines = [f"Evaluating {paths.one_line(prefix)}: {what}"]
    if top_5_is_trivial(num_classes):
        lines.append(f"{num_classes} classes: {_TRIVIAL}")
    return lines


def result_line(path: str | os.PathLike[str]) -> str:
    """Returns where an evaluation writes its result."""
    return f"Result:      {paths.one_line(os.fspath(path))}"


def waiting_line(train_dir: str | os.PathLike[str], step: int | None, outcome: str | None) -> str:
    """Returns what a watching evaluation waits for.

    Args:
        step: of the last checkpoint that was evaluated.
        outcome: why the last start of the run has ended; None while it trains, or if unknown.
    """
    newer = "" if step is None else f" after step {step}"
    ended = f" (its last start ended: {outcome})" if outcome else ""
    where = paths.one_line(os.fspath(train_dir))
    return f"Waiting for a checkpoint{newer} in {where}, until the run is done{ended}"


def evaluation_step_line(step: int, examples_per_sec: float) -> str:
    return f"{step}\t{examples_per_sec:.1f} examples/sec"


def accuracy_line(top_1: float, top_5: float, num_examples: int) -> str:
    """Returns the result of an evaluation; accuracies are fractions."""
    return f"Accuracy @ 1 = {top_1:.4f} Accuracy @ 5 = {top_5:.4f} [{num_examples} examples]"


def precision_line(mean_average_precision: float) -> str:
    """Returns the result of an evaluation on images of several labels."""
    return f"Mean average precision = {mean_average_precision:.4f}"


def running_evaluation_line(global_step: int) -> str:
    return f"Running evaluation at global_step {global_step}"


def worker_line(index: int, hosts: Sequence[str]) -> str:
    """Returns the line with which a worker of a cluster begins."""
    role = "the chief" if index == 0 else f"the chief is {hosts[0]}"
    return f"Worker {index} of {len(hosts)}, {hosts[index]}; {role}"


def log(*lines: str) -> None:
    """Prints `lines` and flushes: a pipe or a log file sees them when they happen."""
    for line in lines:
        _destination(line)


@contextlib.contextmanager
def routed_through(destination: Callable[[str], None]) -> Iterator[None]:
    """Sends the lines of `log` to `destination` (a live progress bar) until the block ends."""
    global _destination
    previous, _destination = _destination, destination
    try:
        yield
    finally:
        _destination = previous


_destination: Callable[[str], None] = commands.write_line


def _fact(name: str, value: object) -> str:
    return f"{name + ':':<13}{value}"


def _more(text: str) -> str:
    return " " * 13 + text


def _short_device(name: str) -> str:
    """Shortens "/device:GPU:0" to "/gpu:0", as tf_cnn_benchmarks prints it."""
    match = re.fullmatch(r"(.*)/device:([A-Za-z]+):(\d+)", name)
    return f"{match[1]}/{match[2].lower()}:{match[3]}" if match else name
