"""Classifies photos: `python prediction.py cat.jpg --model=efficientnet_lite0 --pretrained`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import models.registry
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import PARAMETERS_FILE, Params, read_parameters
from common import commands, process
from common.errors import DataError, UsageError
from inference import answers, class_names, prediction_flags
from inference.view import View, view_of
from models.pretrained import ensure

if TYPE_CHECKING:
    from inference.classifier import Classifier


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name). Returns the exit code."""
    arguments = prediction_flags.parser().parse_args(argv)
    return commands.run(lambda: predict(arguments), debug=arguments.debug, broken_pipe_code=0)


def predict(arguments: argparse.Namespace) -> int:
    """Prints the classes of each photo. Returns 3 if some could not be read, else 0."""
    photos = prediction_flags.photos(arguments.images)
    prediction_flags.check(arguments)
    with process.quiet_startup():
        classifier, view, data, directory = _classifier(arguments)
    names = class_names.class_names(
        classifier.num_classes, arguments.labels_map_file, data, directory
    )
    found = answers.classify(classifier, photos, view, names, arguments.top)
    return 0 if answers.report(found, arguments.json) else DataError.exit_code


def _classifier(
    arguments: argparse.Namespace,
) -> tuple[Classifier, View, DataParams, Path | None]:
    """Returns the network with its weights and its view of a photo.

    Also returns the data flags of its run, and the run's directory; None for published weights.
    """
    run, typed = Params(), (arguments.eval_method, arguments.resize_method)
    if arguments.pretrained:
        model = arguments.model or prediction_flags.DEFAULT_MODEL
        models.registry.get(model)
        view = View(*ensure.view(model)).override(*typed)
        prefix = ensure.ensure(model, arguments.weights_dir)
    else:
        prefix, model, run = _run(arguments.train_dir, arguments.model)
        view = view_of(run.data, *typed)
    from inference.classifier import Classifier

    image_size = arguments.image_size or run.network.image_size
    classifier = Classifier(model, prefix, image_size=image_size, weights=arguments.weights)
    directory = None if arguments.pretrained else Path(prefix).parent
    return classifier, view, run.data, directory


def _run(train_dir: Path, model: str | None) -> tuple[str, str, Params]:
    """Returns the checkpoint of a run, its network, and its parameters (defaults if foreign)."""
    from checkpoints import store

    prefix = store.resolve(train_dir)
    run = Params()
    if (Path(prefix).parent / PARAMETERS_FILE).exists():
        run = read_parameters(Path(prefix).parent)
        model = model or run.network.model
    if model is None:
        raise UsageError(f"the network of {prefix} is not known: give --model=NAME")
    return prefix, model, run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
