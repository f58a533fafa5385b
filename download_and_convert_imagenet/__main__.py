"""Converts raw images to TFRecord shards: `python -m download_and_convert_imagenet DATA_DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common import commands, paths
from common.errors import DataError
from common.process import num_cores
from download_and_convert_imagenet.sources.image_source import (
    IMAGENET_SHARDS,
    NO_BOXES,
    TRAIN,
    VALIDATION,
)

SOURCES = ("imagenet", "folder", "csv", "cifar10")
_EPILOG = """\
DATA_DIR, or DATA_DIR/raw-data, holds ImageNet as it was downloaded: ILSVRC2012_img_train.tar and
ILSVRC2012_img_val.tar; or train/ and validation/ with one folder per class; or Kaggle's
imagenet_object_localization_patched2019.tar.gz. The command may be stopped at any time: the same
command resumes the conversion. Exit codes: 0 done, 2 wrong options, 3 missing or damaged data.
"""
EXIT_BROKEN_PIPE = 1  # scripts may rely on it


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    options = parse_options(arguments, _program())
    return commands.run(
        lambda: _convert(options),
        interrupted="interrupted: the same command resumes the conversion",
        broken_pipe_code=EXIT_BROKEN_PIPE,
    )


def _convert(options: argparse.Namespace) -> int:
    try:
        from download_and_convert_imagenet import command
    except ImportError as error:
        raise DataError(f"{error}: install pillow and numpy") from error
    return command.run(options)


def _program() -> str:
    """Returns how the program was called: as a module, or as one file."""
    name = Path(sys.argv[0]).name
    return "python -m download_and_convert_imagenet" if name == "__main__.py" else name


def parse_options(arguments: Sequence[str] | None, program: str) -> argparse.Namespace:
    """Parses the command line; exits with code 2 and one line if it is invalid."""
    parser = commands.OneLineParser(
        program,
        usage="%(prog)s DATA_DIR [options]",
        description="Converts raw images to TFRecord shards: ImageNet, class folders, images "
        "of several labels, CIFAR-10.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("data_dir", metavar="DATA_DIR", type=paths.argument, help="for the shards")
    parser.add_argument("--source", choices=SOURCES, default=SOURCES[0], help="default imagenet")
    parser.add_argument(
        "--raw_dir", type=paths.argument, help="archives or folders, if not in DATA_DIR"
    )
    parser.add_argument("--split", choices=(TRAIN, VALIDATION), help="convert only this split")
    for split, count in IMAGENET_SHARDS.items():
        parser.add_argument(
            f"--{split}_shards",
            type=commands.at_least(1),
            help=f"number of files (default {count}; for other sources, one per 100 MB)",
        )
    parser.add_argument(
        "--num_processes",
        type=commands.at_least(1),
        default=num_cores(),
        help="default: one per core",
    )
    parser.add_argument(
        "--bounding_boxes",
        metavar="PATH",
        type=paths.argument,
        help=f"annotations of ImageNet, if not in DATA_DIR; '{NO_BOXES}' converts without boxes",
    )
    parser.add_argument(
        "--validation_fraction",
        type=commands.share,
        help="for --source=folder and csv without a validation split: this share of each class, or "
        "of all images (0.1)",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        type=paths.argument,
        help="for --source=csv: image,labels or a column for each class; default: the .csv in "
        "--raw_dir",
    )
    parser.add_argument(
        "--max_corrupt_images",
        type=commands.at_least(0),
        default=0,
        help="succeed although up to this many images cannot be decoded (default 0)",
    )
    options = parser.parse_args(arguments)
    own_images = options.source in ("folder", "csv")
    if options.validation_fraction is not None and not own_images:
        parser.error("--validation_fraction is an option of --source=folder and --source=csv")
    if options.labels is not None and options.source != "csv":
        parser.error("--labels is an option of --source=csv")
    if options.validation_fraction == 1 and options.split != VALIDATION:
        parser.error("--validation_fraction=1 leaves no training image: add --split=validation")
    if options.bounding_boxes is not None and options.source != "imagenet":
        parser.error("--bounding_boxes is an option of --source=imagenet")
    if own_images and options.raw_dir is None:
        what = "class folders" if options.source == "folder" else "images"
        parser.error(f"--source={options.source} needs --raw_dir, the directory of the {what}")
    return options


if __name__ == "__main__":
    sys.exit(main())
