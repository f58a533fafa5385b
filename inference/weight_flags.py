"""The flags that say which weights a command uses: published ones, or those of a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from common import paths
from common.commands import at_least
from common.errors import UsageError
from models.pretrained import ensure


def add(add_argument: Callable[..., Any], *other_names: str) -> None:
    """Adds the flags to a parser, or to a group, by its `add_argument`.

    Args:
        other_names: Further names of --train_dir.
    """
    add_argument(
        "--pretrained", action="store_true", help="published weights (python -m models.pretrained)"
    )
    add_argument(
        *("--train_dir", *other_names),
        metavar="DIR",
        type=paths.argument_or_url,
        help="a run of train.py, or one checkpoint, also of TensorFlow 1",
    )
    add_argument(
        "--weights",
        choices=("ema", "raw"),
        help="moving averages (the default if the checkpoint has them) or raw weights",
    )
    add_argument(
        "--weights_dir",
        metavar="DIR",
        type=paths.argument,
        help=f"of --pretrained; default: {ensure.DEFAULT_IN_WORDS}",
    )
    add_argument(
        "--labels_map_file",
        metavar="FILE",
        type=paths.argument,
        help='JSON, {"0": "tench, Tinca tinca", ...}; default: the class names of the run\'s data '
        "set, ImageNet's words for ImageNet's 1000 classes",
    )
    add_argument(
        "--num_classes",
        type=at_least(1),
        help="that the checkpoint of --train_dir must have; needed where another program wrote it "
        "and only ImageNet's background class differs",
    )


def check(arguments: argparse.Namespace) -> None:
    """Checks the flags against each other.

    Raises:
        UsageError: No weights are given, or two, or a flag that belongs to the others.
    """
    if arguments.pretrained == (arguments.train_dir is not None):
        raise UsageError("give the weights: --pretrained or --train_dir=DIR, one of them")
    if arguments.train_dir is not None and arguments.weights_dir is not None:
        raise UsageError("--weights_dir has no effect with --train_dir; it belongs to --pretrained")
    if arguments.pretrained and arguments.num_classes is not None:
        raise UsageError("--num_classes has no effect with --pretrained; it belongs to --train_dir")
