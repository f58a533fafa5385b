"""The command line of prediction.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmark_cnn.params.params import FLAGS
from common import commands, paths
from common.commands import at_least
from common.errors import UsageError
from inference.source import DEFAULT_MODEL
from inference.view import WHOLE
from models.pretrained import ensure

_EXAMPLES = """\
examples:
  python prediction.py cat.jpg --model=efficientnet_lite0 --pretrained
  python prediction.py photos/ --train_dir=runs/lite0 --json
"""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of prediction.py's flags."""
    parser = commands.OneLineParser(
        prog="prediction.py",
        description="Classify photos with pretrained weights or with a run of train.py.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="image files, or directories of them",
    )
    add("--model", help=f"default: the run's, or {DEFAULT_MODEL} with --pretrained")
    add("--pretrained", action="store_true", help="published weights (python -m models.pretrained)")
    add(
        "--train_dir",
        metavar="DIR",
        type=paths.argument,
        help="a run of train.py, or one checkpoint",
    )
    add(
        "--weights",
        choices=("ema", "raw"),
        help="moving averages (the default if the checkpoint has them) or raw weights",
    )
    add(
        "--weights_dir",
        metavar="DIR",
        type=paths.argument,
        help=f"of --pretrained; default: {ensure.DEFAULT_IN_WORDS}",
    )
    add(
        "--labels_map_file",
        metavar="FILE",
        type=paths.argument,
        help='JSON, {"0": "tench, Tinca tinca", ...}; default: the class names of the run\'s data '
        "set, ImageNet's words for ImageNet's 1000 classes",
    )
    add("--image_size", type=at_least(1), help="in pixels; default: the run's or the model's")
    add(
        "--eval_method",
        choices=(*FLAGS["eval_method"].choices, WHOLE),
        help="how a photo is cropped",
    )
    methods = FLAGS["resize_method"].choices
    add("--resize_method", choices=[method for method in methods if method != "round_robin"])
    add(
        "--top",
        type=at_least(1),
        default=5,
        help="number of classes to print; default: %(default)s",
    )
    add("--json", action="store_true", help="one JSON list of answers instead of lines")
    add("--debug", action="store_true", help="print tracebacks of errors")
    return parser


def check(arguments: argparse.Namespace) -> None:
    """Checks the flags against each other, before the flags of a run are known.

    Raises:
        UsageError: No weights are given, or two, or a flag that belongs to the others.
    """
    if arguments.pretrained == (arguments.train_dir is not None):
        raise UsageError("give the weights: --pretrained or --train_dir=DIR, one of them")
    if arguments.train_dir is not None and arguments.weights_dir is not None:
        raise UsageError("--weights_dir has no effect with --train_dir; it belongs to --pretrained")


def photos(images: Sequence[str]) -> list[Path]:
    """Returns the paths of the photos on the command line.

    Raises:
        UsageError: One is empty, a URL, or in the home of a user who does not exist.
    """
    found = []
    for image in images:
        if not image:
            raise UsageError("the name of an image is empty")
        try:
            found.append(Path(paths.local(image)))
        except ValueError as error:
            remote = "://" in image and not image.lower().startswith("file://")
            advice = ": download the photo and give its file" if remote else ""
            raise UsageError(f"{image} {error}{advice}") from None
    return found
