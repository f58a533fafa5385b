"""Evaluates a run's checkpoints: one, all, or each new one as it appears; or a SavedModel."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from benchmark_cnn import (
    before_training,
    class_report,
    identity,
    saving,
    training_setup,
    waiting,
)
from benchmark_cnn.class_report import Confusion
from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.evaluation import Evaluator
from benchmark_cnn.interfaces import Dataset, Network, NetworkSpec
from benchmark_cnn.objective import average_precision
from benchmark_cnn.objective.losses import of_flags
from benchmark_cnn.params.flag import Value
from benchmark_cnn.params.params import FLAGS, PARAMETERS_FILE, Params, read_parameters
from benchmark_cnn.reporting import confusion, console
from benchmark_cnn.reporting.summaries import EvaluationSummaries
from benchmark_cnn.run import AVERAGED, RAW, RunPlan, RunSettings, crosses, resolve_settings
from benchmark_cnn.run_directory import RunDirectory
from checkpoints import restore_plan, store
from checkpoints.tensor_roles import AVERAGE, role
from common import files
from common.errors import DataError, Stopped
from common.process import StopSignal

RESULT_FILE = "eval.json"
EXPORTED = "exported"  # the weights of a SavedModel, besides run.AVERAGED and run.RAW
# Flags that make a measurement another one, besides image_size. They are inherited from the run.
_SWITCHES = (
    *("eval_method", "resize_method", "resize_kernels", "eval_crop_fraction", "dtype"),
    "tta",
    "quantization_aware",
)


class _Weights(NamedTuple):
    """The weights that are in the network.

    Attributes:
        source: the prefix of their checkpoint, or the directory of a SavedModel.
        step: their global step.
        kind: AVERAGED, RAW or EXPORTED.
        is_default: whether a training that wrote them would have evaluated the same ones.
    """

    source: str
    step: int
    kind: str
    is_default: bool


def evaluate(
    params: Params,
    spec: NetworkSpec,
    dataset: Dataset,
    *,
    class_names: Sequence[str] | None = None,
    check_device: Callable[[str], None] | None = None,
    reference: Params | None = None,
    about_network: Callable[[Network, int], dict] | None = None,
) -> dict:
    """Evaluates `params.checkpoint.train_dir`: the checkpoints of a run, or one checkpoint.

    With `params.evaluation.saved_model`, the network of `spec` brings its weights.

    Args:
        class_names: of the network's classes; "class 0", "class 1"... without.
        check_device: see `training_setup.make_manager`.
        reference: how these weights are meant to be evaluated, where no run says it. Any other
            measurement has a folder of its own.
        about_network: from the network and its image size, further entries of what is returned.

    Returns:
        The last result: `top_1`, `top_5`, `loss`, `examples`, `images_per_sec`, `global_step`,
        `checkpoint`, and `class_report.entries`; it is also written to eval.json of the evaluation
        directory.

    Raises:
        DataError: no checkpoint, one of another model, or damaged data.
        Stopped: a signal (`StopSignal`).
    """
    run_devices, manager = training_setup.make_manager(params, check_device)
    settings = resolve_settings(params, spec, dataset, "validation", run_devices.kind)
    plan = _plan(settings, manager.num_towers, dataset.num_examples(settings.subset))
    console.log(
        *console.header_lines(params, spec, dataset, run_devices, plan, mode="evaluation"),
        console.GENERATING_EVALUATION_MODEL,
    )
    network = training_setup.build_network(params, spec, dataset, manager, settings)
    names = class_names or [f"class {number}" for number in range(settings.num_classes)]
    evaluator = _evaluator(params, settings, dataset, manager, network)
    directory = evaluation_directory(params)
    if params.evaluation.eval_dir is not None:
        before_training.warn_of_place("eval_dir", directory, params)
    differences = _differences(params, spec, settings, dataset, reference)
    result: dict = {}
    summaries: dict[Path, EvaluationSummaries] = {}
    with StopSignal() as stop, contextlib.ExitStack() as stack:
        for weights in _weights_to_evaluate(network, params, stop):
            folder = directory / "-".join([*([] if weights.is_default else ["raw"]), *differences])
            if folder not in summaries:
                summaries[folder] = stack.enter_context(EvaluationSummaries(folder))
            about = _provenance(params, spec, settings, weights.kind, evaluator)
            path = folder / RESULT_FILE
            result, counted = _evaluate_one(evaluator, weights, params, stop, about, names, path)
            summaries[folder].write(weights.step, result)
            _write_json(path, result)
            about = f"{_name(weights)}  ·  {weights.kind} weights  ·  {settings.subset}"
            if counted is not None:
                confusion.draw(counted, names, folder / confusion.PICTURE, about)
    if stop.requested:
        raise Stopped(f"stopped by {stop.requested}; finished evaluations are in {directory}")
    if not result:
        raise DataError(f"no checkpoint in {params.checkpoint.train_dir} is left to evaluate")
    return result | (about_network(network, settings.image_size) if about_network else {})


def _evaluator(
    params: Params,
    settings: RunSettings,
    dataset: Dataset,
    manager: VariableManager,
    network: Network,
) -> Evaluator:
    return Evaluator(
        manager,
        network,
        dataset,
        batch_size=settings.batch_size,
        image_size=settings.image_size,
        subset=settings.subset,
        max_skipped=params.data.max_corrupt_records,
        loss=of_flags(params.optimization),
    )


def evaluation_directory(params: Params) -> Path:
    """Returns `--eval_dir`, or `eval` in the run's directory, or next to a SavedModel."""
    flags = params.evaluation
    if flags.eval_dir is not None:
        return Path(flags.eval_dir)
    if flags.saved_model is not None:  # what is deployed stays as it was exported
        path = Path(flags.saved_model).absolute()
        return path.with_name(f"{path.name}-eval")
    train_dir = Path(params.checkpoint.train_dir or ".")
    return (train_dir if train_dir.is_dir() else train_dir.parent) / "eval"


def _weights_to_evaluate(network: Network, params: Params, stop: StopSignal) -> Iterator[_Weights]:
    """Puts one checkpoint after the other into `network`; a SavedModel's weights are in it."""
    if params.evaluation.saved_model is not None:
        yield _Weights(params.evaluation.saved_model, 0, EXPORTED, True)
        return
    for prefix in _checkpoints_to_evaluate(params, stop):
        weights = _restore_unless_deleted(network, prefix, params)
        if weights is not None:
            yield weights


def _checkpoints_to_evaluate(params: Params, stop: StopSignal) -> Iterator[str]:
    train_dir, flags = params.checkpoint.train_dir or ".", params.evaluation
    if flags.eval_interval_secs:
        step = None
        while not stop.requested:
            prefix = waiting.wait_for_new_checkpoint(
                train_dir,
                step,
                poll_secs=flags.eval_interval_secs,
                should_stop=lambda: bool(stop.requested),
            )
            if prefix is None:
                return
            step = store.step_in_name(prefix)
            yield prefix
    elif flags.all_checkpoints:
        prefixes = store.all_checkpoints(train_dir)
        if not prefixes:
            raise DataError(f"no checkpoint in {train_dir}")
        yield from prefixes
    else:
        yield store.resolve(train_dir)


def _restore_unless_deleted(network: Network, prefix: str, params: Params) -> _Weights | None:
    """Restores `network`, see `_restore`; returns None if training deleted `prefix`."""
    try:
        return _restore(network, prefix, params)
    except DataError:
        evaluates_several = (
            params.evaluation.eval_interval_secs or params.evaluation.all_checkpoints
        )
        if not evaluates_several or os.path.exists(f"{prefix}.index"):
            raise
        logging.warning("%s was deleted by the training run and is skipped", prefix)
        return None


def _restore(network: Network, prefix: str, params: Params) -> _Weights:
    """Restores the averages if the checkpoint has any, or what --moving_average_decay says."""
    available = store.shapes(prefix)
    decay = params.optimization.moving_average_decay
    has_averages = any(role(name, ()) == AVERAGE for name in available)
    takes_averages = has_averages if decay is None else decay > 0
    plan = restore_plan.restore_plan(
        saving.shapes_of(network.variables),
        available,
        ckpt_scope=params.evaluation.ckpt_scope,
        moving_average=takes_averages,
        ignore_missing=params.evaluation.ignore_missing_vars,
        background_class=network.background_class,
    )
    values, step = store.read_variables(prefix, plan), store.global_step(prefix)
    for name, value in values.items():
        network.variables[name].assign(value)
    kind = AVERAGED if takes_averages else RAW
    return _Weights(prefix, step, kind, is_default=takes_averages == has_averages)


def _evaluate_one(
    evaluator: Evaluator,
    weights: _Weights,
    params: Params,
    stop: StopSignal,
    about: dict,
    class_names: Sequence[str],
    path: Path,
) -> tuple[dict, Confusion | None]:
    """Returns the result, and the confusion of the classes unless images have several labels."""
    examples = evaluator.dataset.num_examples(evaluator.subset)
    console.log(
        *console.evaluating_lines(
            weights.source, weights.kind, {about["subset"]: examples}, len(class_names)
        ),
        console.result_line(path),
        console.running_evaluation_line(weights.step),
    )

    ends: list[float] = []

    def on_step(number: int, examples_per_sec: float) -> None:
        ends.append(time.perf_counter())
        if stop.requested:
            raise Stopped(f"stopped by {stop.requested} while evaluating {weights.source}")
        if crosses(number - 1, number, params.report.display_every):
            console.log(console.evaluation_step_line(number, examples_per_sec))

    started = time.perf_counter()
    result = evaluator.run(on_step, num_classes=len(class_names))
    result["images_per_sec"] = _images_per_sec(started, ends, result["examples"])
    counted: Confusion | None = result.pop("confusion", None)
    classes: dict = {}
    if evaluator.dataset.multi_label:
        precisions, counts = result.pop("average_precisions"), result.pop("examples_of_classes")
        classes = average_precision.entries(precisions, counts, class_names)
        console.log(*average_precision.lines(classes, RESULT_FILE))
        console.log(console.precision_line(result["mean_average_precision"]))
    elif counted is not None:
        classes = class_report.entries(counted, class_names)
        console.log(*class_report.lines(classes, RESULT_FILE))
    console.log(console.accuracy_line(result["top_1"], result["top_5"], result["examples"]))
    about = {"global_step": weights.step, "checkpoint": _name(weights), **about}
    return {**result, **about, **classes}, counted


def _images_per_sec(started: float, ends: Sequence[float], examples: int) -> float:
    """Returns the speed of the steps after the first, which compiles; of the only one otherwise.

    Args:
        ends: the time at the end of each step.
    """
    if len(ends) == 1:
        return examples / max(ends[0] - started, 1e-9)
    share = (len(ends) - 1) / len(ends)
    return examples * share / max(ends[-1] - ends[0], 1e-9)


def _name(weights: _Weights) -> str:
    return os.path.basename(os.path.abspath(weights.source))


def _provenance(
    params: Params, spec: NetworkSpec, settings: RunSettings, weights: str, evaluator: Evaluator
) -> dict:
    """Returns the entries of eval.json that say what was evaluated, and how."""
    return {
        "model": spec.name,
        "weights": weights,
        "subset": settings.subset,
        "image_size": settings.image_size,
        "loss_is": str(evaluator.loss),
        **{name: _value(params, name) for name in _SWITCHES},
    }


def _differences(
    params: Params,
    spec: NetworkSpec,
    settings: RunSettings,
    dataset: Dataset,
    reference: Params | None,
) -> list[str]:
    """Returns what makes this another measurement than that of the training, for a folder's name.

    Each kind of measurement has its own curve in TensorBoard, and its own eval.json.
    """
    train_dir = Path(params.checkpoint.train_dir or ".")
    directory = train_dir if train_dir.is_dir() else train_dir.parent
    differences = [] if settings.subset == "validation" else [settings.subset]
    is_run = reference is None and (directory / PARAMETERS_FILE).exists()
    run = read_parameters(directory) if is_run else reference
    if run is None:
        return differences
    image_size = run.network.image_size or spec.image_size
    if settings.image_size != image_size:
        differences.append(f"image_size={settings.image_size}")
    for name in _SWITCHES:
        if _value(params, name) != _value(run, name):
            differences.append(f"{name}={_value(params, name)}")
    if is_run and (title := identity.other_data(RunDirectory(directory), dataset)):
        differences.append("data=" + re.sub(r"[^\w.]+", "_", title))
    return differences


def _value(params: Params, name: str) -> Value:
    return getattr(getattr(params, FLAGS[name].concern), name)


def _plan(settings: RunSettings, num_towers: int, num_examples: int) -> RunPlan:
    steps = math.ceil(num_examples / (settings.batch_size * num_towers))
    return RunPlan(settings.batch_size, num_towers, 1, num_examples, 0, steps)


def _write_json(path: Path, result: dict) -> None:
    with files.write_errors(path, "make room, or give another --eval_dir=DIR"):
        files.make_directory(path.parent)
        files.write_text(path, json.dumps(result, indent=2) + "\n")
