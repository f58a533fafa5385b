"""Evaluate a run: `python eval.py --train_dir=runs/lite0`; or published weights, a SavedModel."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from common import commands, process

if __name__ == "__main__":  # before the other imports, which take a while
    process.hold_signals()
    process.restart_with_defaults()

import models.registry
import preprocessing.registry
from benchmark_cnn import waiting
from benchmark_cnn.flags import command_line
from benchmark_cnn.params import validation
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import ExplicitFlags, Params
from inference import class_names, saved_model_spec, source
from models.pretrained import ensure
from preprocessing import object_storage
from preprocessing.own_photos import runs as own_photos


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name) and returns the exit code."""

    def run() -> None:
        with process.StopSignal(raises=True):
            evaluate(argv)

    return commands.run(run, debug=command_line.asks_for_debug(argv))


def evaluate(
    argv: Sequence[str], *, about_network: Callable[[Any, int], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Evaluates a run; its parameters.json names model and data, unless the flags do.

    Args:
        about_network: see `checkpoint_evaluation.evaluate`.

    Returns:
        The content of the last eval.json.
    """
    flags = command_line.parse(
        "eval.py",
        argv,
        choices={"model": models.registry.names(), "data_name": preprocessing.registry.names()},
        answers={"model": models.registry.answers()},
    )
    flags = source.with_default_model(flags)
    spec, reference, url = None, None, flags.params.checkpoint.train_dir
    if flags.params.evaluation.saved_model is not None:
        with process.quiet_startup():
            spec, run = saved_model_spec.open_spec(flags.params)
        reference = run
    elif flags.params.checkpoint.pretrained:
        flags, run = _published(flags)
        reference = run
    else:
        flags = dataclasses.replace(flags, params=object_storage.for_evaluation(flags.params))
        run = waiting.load_run_params(flags.params, wait="model" not in flags.explicit)
    params = validation.inherit(flags, run or flags.params)
    params = object_storage.with_local_data(params, [params.data.data_subset or "validation"])
    params = own_photos.for_evaluation(params, run)
    with process.quiet_startup():
        dataset = preprocessing.registry.open_dataset(
            params.data, default_subset="validation", tta=params.evaluation.tta
        )
        from benchmark_cnn import checkpoint_evaluation
    checkpoint = params.checkpoint
    if checkpoint.pretrained or ensure.holds_published(checkpoint.train_dir):
        class_names.check_imagenet_labels(params.data)

    num_classes = params.network.num_classes or dataset.num_classes
    result = checkpoint_evaluation.evaluate(
        params,
        spec or models.registry.get(params.network.model),
        dataset,
        class_names=class_names.class_names(num_classes, None, params.data),
        check_device=functools.partial(validation.check_device, flags),
        reference=reference,
        about_network=about_network,
    )
    if params.evaluation.eval_dir is None:
        object_storage.upload_evaluation(url, params)
    return result


def _published(flags: ExplicitFlags) -> tuple[ExplicitFlags, Params]:
    """Returns the flags with the published weights as --train_dir, and their own parameters."""
    params = flags.params
    weights = ensure.ensure_in_child(params.network.model)
    checkpoint = dataclasses.replace(params.checkpoint, train_dir=str(weights.parent))
    params = dataclasses.replace(params, checkpoint=checkpoint)
    eval_method, resize_method = ensure.view(params.network.model)
    view = DataParams(eval_method=eval_method, resize_method=resize_method)
    return dataclasses.replace(flags, params=params), Params(data=view)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
