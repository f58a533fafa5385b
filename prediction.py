"""Classifies photos: `python prediction.py cat.jpg --model=efficientnet_lite0 --pretrained`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from common import commands, process
from common.errors import DataError
from inference import answers, prediction_flags, source
from inference.source import Request


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name). Returns the exit code."""
    arguments = prediction_flags.parser().parse_args(argv)
    return commands.run(lambda: predict(arguments), debug=arguments.debug, broken_pipe_code=0)


def predict(arguments: argparse.Namespace) -> int:
    """Prints the classes of each photo. Returns 3 if some could not be read, else 0."""
    photos = prediction_flags.photos(arguments.images)
    prediction_flags.check(arguments)
    request = Request(
        model=arguments.model,
        train_dir=None if arguments.pretrained else arguments.train_dir,
        weights=arguments.weights,
        weights_dir=arguments.weights_dir,
        image_size=arguments.image_size,
        eval_method=arguments.eval_method,
        resize_method=arguments.resize_method,
        labels_map_file=arguments.labels_map_file,
    )
    with process.quiet_startup():
        loaded = source.load(request)
    names = loaded.signature.class_names
    found = answers.classify(loaded.classifier, photos, loaded.view, names, arguments.top)
    return 0 if answers.report(found, arguments.json) else DataError.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
