"""The command line of prediction.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmark_cnn.params.output_params import FLIP
from benchmark_cnn.params.params import FLAGS
from common import commands, paths
from common.commands import at_least, share
from common.errors import UsageError
from inference import artifacts, network, weight_flags
from inference.predictions import table
from inference.predictions.sources.opening import DEFAULT_DATA
from inference.source import DEFAULT_MODEL, Request
from inference.view import WHOLE
from preprocessing.records.shards import SUBSETS

_EXAMPLES = """\
examples:
  python prediction.py cat.jpg --model=efficientnet_lite0 --pretrained
  python prediction.py photos/ --train_dir=runs/lite0 --json
  python prediction.py cat.jpg -m lite0.tflite
  python prediction.py -m efficientnet_lite0 -d imagenet --tta=10-crop
"""

_OF_WEIGHTS = ("pretrained", "train_dir", "weights", "weights_dir", "num_classes", "image_size")
# Flags of data sets alone: each with its default.
_OF_DATA: dict[str, object] = {
    "data_subset": None,
    "classes": table.ALL,
    "output_dir": None,
    "format": table.FORMATS[0],
    "per_image_files": False,
    "num_processes": 1,
}


def parser() -> argparse.ArgumentParser:
    """Returns the parser of prediction.py's flags."""
    parser = commands.OneLineParser(
        prog="prediction.py",
        description="Classify photos, or predict a data set, with pretrained weights, a run of "
        "train.py or an exported file.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="image files, or directories of them",
    )
    add(
        "-m",
        "--model",
        help="a registered network, or an exported file: a SavedModel, .tflite or .onnx; default: "
        f"the run's, or {DEFAULT_MODEL} with --pretrained",
    )
    add("--backend", choices=network.BACKENDS, help="default: by what --model is")
    weight_flags.add(add)
    _add_view_flags(parser)
    add(
        "--top",
        type=at_least(1),
        help="number of classes in an answer; default: 5, or all above the threshold",
    )
    add(
        "--threshold",
        type=share,
        help="least probability of a class where a photo has several labels; default: 0.5",
    )
    add("--json", action="store_true", help="one JSON list of answers instead of lines")
    add("--debug", action="store_true", help="print tracebacks of errors")
    _add_data_flags(parser)
    return parser


def _add_view_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--image_size", type=at_least(1), help="in pixels; default: the run's or the model's")
    add(
        "--eval_method",
        choices=(*FLAGS["eval_method"].choices, WHOLE),
        help="how a photo is cropped",
    )
    methods = FLAGS["resize_method"].choices
    add("--resize_method", choices=[method for method in methods if method != "round_robin"])
    tta = FLAGS["tta"]
    add("--tta", choices=tta.choices, help=f"{tta.help} Default: as the network's evaluation does")


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data sets (docs/prediction.md)").add_argument
    add(
        "-d",
        "--data",
        metavar="DIR",
        help="TFRecords, class folders, or Kaggle's ImageNet; a name is one in data/; default "
        f"without IMAGE: {DEFAULT_DATA}",
    )
    add("--data_subset", choices=SUBSETS, help="default: validation")
    add(
        "--classes",
        choices=table.CLASSES,
        help="whether all classes of the network compete, or only those of the data set; default: "
        f"{table.ALL}",
    )
    add(
        "--output_dir",
        metavar="DIR",
        type=paths.argument,
        help="default: evaluation/MODEL/DATA, with what differs from the defaults",
    )
    add("--format", choices=table.FORMATS, help=f"of the table; default: {table.FORMATS[0]}")
    add(
        "--per_image_files",
        action="store_true",
        default=None,
        help="write a text file for each image, too: label, class, probability",
    )
    add("--num_processes", type=at_least(1), help="that share the cores; default: 1")


def predicts_data(arguments: argparse.Namespace) -> bool:
    """Returns whether a data set is meant, and fills in the defaults of its flags.

    Raises:
        UsageError: There are neither photos nor a data set, or both, or a flag of the other.
    """
    for flag in ("model", "data"):
        if getattr(arguments, flag) == "":
            raise UsageError(f"--{flag} is empty")
    if arguments.data is None and not arguments.images:
        if arguments.model is None:
            raise UsageError("give photos, or a data set with --data=DIR")
        arguments.data = DEFAULT_DATA
    if arguments.data is None:
        given = next((f for f in _OF_DATA if getattr(arguments, f) is not None), None)
        if given is not None:
            raise UsageError(f"--{given} has no effect on photos; it belongs to --data")
        return False
    if arguments.images:
        raise UsageError(f"give photos ({arguments.images[0]}) or --data, one of them")
    if arguments.threshold is not None:
        raise UsageError("--threshold has no effect with --data, whose images have one label")
    if arguments.json:
        raise UsageError("--json has no effect with --data, whose answers are written to a table")
    for flag, default in _OF_DATA.items():
        if getattr(arguments, flag) is None:
            setattr(arguments, flag, default)
    try:
        arguments.data = paths.local(arguments.data)
    except ValueError as error:
        raise UsageError(f"--data={arguments.data} {error}") from None
    return True


def choice(arguments: argparse.Namespace) -> network.Choice:
    """Returns what to predict with. The published weights are the default for data sets.

    Raises:
        UsageError: The flags contradict each other.
        DataError: `--model` is a path, and there is no exported file.
    """
    file = network.exported_file(arguments.model)
    if file is None and arguments.data is not None and arguments.train_dir is None:
        arguments.pretrained = True
    _check(arguments, file)
    request = Request(
        model=None if file else arguments.model,
        train_dir=None if arguments.pretrained else arguments.train_dir,
        weights=arguments.weights,
        weights_dir=arguments.weights_dir,
        image_size=arguments.image_size,
        num_classes=arguments.num_classes,
        eval_method=arguments.eval_method,
        resize_method=arguments.resize_method,
        labels_map_file=arguments.labels_map_file,
    )
    return network.Choice(request, file)


def _check(arguments: argparse.Namespace, file: Path | None) -> None:
    """Checks the flags against each other, before those of a run are known."""
    backend = network.CHECKPOINT if file is None else artifacts.backend_of(file)
    if arguments.backend not in (None, backend):
        what = f"{file} is for --backend={backend}"
        if file is None:
            what = "a network with a checkpoint is meant"
        raise UsageError(
            f"--backend={arguments.backend}: {what}; leave the flag "
            "out, or give a file that export.py wrote for it"
        )
    if file is not None:
        for flag in _OF_WEIGHTS:
            if getattr(arguments, flag):
                raise UsageError(
                    f"--{flag} has no effect with --model={file}, which holds its weights and size"
                )
    else:
        weight_flags.check(arguments)
    for flag in ("eval_method", "resize_method"):
        if getattr(arguments, flag) and arguments.tta not in (None, FLIP):
            raise UsageError(
                f"--{flag} has no effect with --tta={arguments.tta}, which says how images are seen"
            )


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
