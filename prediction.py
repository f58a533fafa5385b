"""Classifies photos, or predicts a data set.

python prediction.py cat.jpg --model=efficientnet_lite0 --pretrained
python prediction.py --model=lite0.tflite --data=imagenet
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from common import commands, process
from common.errors import DataError
from inference import answers, prediction_flags
from inference.network import open_network
from inference.predictions.command import predict_data


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name). Returns the exit code."""
    arguments = prediction_flags.parser().parse_args(argv)
    return commands.run(lambda: predict(arguments), debug=arguments.debug, broken_pipe_code=0)


def predict(arguments: argparse.Namespace) -> int:
    """Predicts a data set, or prints the classes of each photo.

    Returns 3 if some images could not be read, else 0.
    """
    is_data = prediction_flags.predicts_data(arguments)
    photos = prediction_flags.photos(arguments.images)
    choice = prediction_flags.choice(arguments)
    if is_data:
        return predict_data(arguments, choice)
    with process.quiet_startup():
        network = open_network(choice)
    found = answers.classify(network, photos, arguments.top, arguments.tta, arguments.threshold)
    return 0 if answers.report(found, arguments.json) else DataError.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
