"""What is on a photo: `python prediction.py cat.jpg --model=efficientnet_lite0 --pretrained`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models.registry
from benchmark_cnn import flags
from benchmark_cnn.errors import DataError, UsageError
from checkpoints import labels, manifest, pretrained
from preprocessing.options import EVAL_METHODS, RESIZE_METHODS

DEFAULT_MODEL = "efficientnet_lite0"
_WHOLE = "whole"
# Their networks see whole images.
_DATA_OF_WHOLE_IMAGES = ("digits", "cifar10")
_BATCH_SIZE = 16
_EXAMPLES = """\
examples:
  python prediction.py cat.jpg --model=efficientnet_lite0 --pretrained
  python prediction.py photos/ --train_dir=runs/lite0 --json
"""


@dataclass(frozen=True)
class View:
    """Which part of a photo the network sees, and how it is resized."""

    eval_method: str
    resize_method: str


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv` (without the program's name); returns the exit code."""
    try:
        return predict(_parser().parse_args(argv))
    except Exception as error:
        return flags.report_and_exit_code(error, "--debug" in argv)


def predict(arguments: argparse.Namespace) -> int:
    """Print the classes of each photo; 3 if some could not be read, else 0."""
    if arguments.pretrained == (arguments.train_dir is not None):
        raise UsageError("give the weights: --pretrained or --train_dir=DIR, one of them")
    model, prefix, view = _weights(arguments)

    from checkpoints.classifier import Classifier

    classifier = Classifier(
        model, prefix, image_size=arguments.image_size, weights=arguments.weights
    )
    names = labels.for_classes(classifier.num_classes, arguments.labels_map_file)
    answers: list[dict[str, Any]] = []
    for answer in _classify(classifier, arguments.images, view, names, arguments.top):
        answers.append(answer)
        if not arguments.json:
            _print(answer)
    if arguments.json:
        print(json.dumps(answers, indent=2, ensure_ascii=False))
    return DataError.exit_code if any("error" in answer for answer in answers) else 0


def _weights(arguments: argparse.Namespace) -> tuple[str, str, View]:
    """Model, checkpoint and view: what is typed, else the run's or the published weights' own."""
    eval_method, resize_method = "vgg", "bilinear"
    model = arguments.model
    if arguments.pretrained:
        model = model or DEFAULT_MODEL
        _check_name(model)
        prefix = str(pretrained.ensure(model, arguments.weights_dir))
        entry = manifest.entries().get(model)  # none for weights that --from imported
        if entry is not None:
            eval_method, resize_method = entry.eval_method, entry.resize_method
    else:
        from benchmark_cnn import checkpoints
        from benchmark_cnn.params import PARAMETERS_FILE, read_parameters

        prefix = checkpoints.resolve(arguments.train_dir)
        if (Path(prefix).parent / PARAMETERS_FILE).exists():
            run = read_parameters(Path(prefix).parent)
            model = model or run.network.model
            arguments.image_size = arguments.image_size or run.network.image_size
            is_whole = run.data.data_name in _DATA_OF_WHOLE_IMAGES
            eval_method = _WHOLE if is_whole else run.data.eval_method
            resize_method = run.data.resize_method
        if model is None:
            raise UsageError(f"{prefix} does not say which network it is of: give --model=NAME")
        _check_name(model)
    return (
        model,
        prefix,
        View(arguments.eval_method or eval_method, arguments.resize_method or resize_method),
    )


def _check_name(model: str) -> None:
    try:
        models.registry.get(model)
    except models.registry.UnknownModelError as error:
        raise UsageError(str(error)) from error


def _classify(
    classifier: Any, paths: Sequence[str], view: View, names: Sequence[str], top: int
) -> Iterator[dict[str, Any]]:
    """For each photo, in order, its image name and predictions, best first, or its error."""
    import numpy as np

    from preprocessing import photos
    from preprocessing.errors import DataError as UnreadableError
    from preprocessing.photo_view import photo_view

    photos.allow_large_images()
    files = photos.find(paths)
    for start in range(0, len(files), _BATCH_SIZE):
        answers: list[dict[str, Any]] = []
        pixels = []
        for file in files[start : start + _BATCH_SIZE]:
            answers.append({"image": str(file)})
            try:
                image = photo_view(
                    photos.read(file), classifier.image_size, view.eval_method, view.resize_method
                )
            except UnreadableError as error:
                answers[-1]["error"] = str(error)
            else:
                pixels.append(image)
        rows = iter(classifier.probabilities(np.stack(pixels)) if pixels else ())
        for answer in answers:
            if "error" not in answer:
                row = next(rows)
                best = np.argsort(-row, kind="stable")[:top]
                answer["predictions"] = [
                    {"class": int(k), "label": names[k], "probability": float(row[k])} for k in best
                ]
            yield answer


def _print(answer: dict[str, Any]) -> None:
    if "error" in answer:
        print(f"error: {answer['error']}", file=sys.stderr, flush=True)
        return
    print(f"predicted class for image {answer['image']}: ")
    for rank, prediction in enumerate(answer["predictions"]):
        percent = 100 * prediction["probability"]
        print(f"  -> top_{rank} ({percent:.2f}%): {prediction['label']}  ", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prediction.py",
        description="Name what photos show, by pretrained weights or by a run of train.py.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="image files, or directories of them")
    add("--model", help=f"default: the run's, or {DEFAULT_MODEL} with --pretrained")
    add("--pretrained", action="store_true", help="published weights (python -m checkpoints.fetch)")
    add("--train_dir", metavar="DIR", help="a run of train.py, or one checkpoint")
    add(
        "--weights",
        choices=("ema", "raw"),
        help="moving averages (the default where the checkpoint has them) or raw weights",
    )
    add("--weights_dir", default=pretrained.DEFAULT_DIRECTORY, help="default: %(default)s")
    add("--labels_map_file", metavar="FILE", help='JSON, {"0": "tench, Tinca tinca", ...}')
    add("--image_size", type=int, help="in pixels; default: the run's or the model's")
    add("--eval_method", choices=(*EVAL_METHODS, _WHOLE), help="which part of a photo is seen")
    add("--resize_method", choices=[m for m in RESIZE_METHODS if m != "round_robin"])
    add("--top", type=int, default=5, help="how many classes are named; default: %(default)s")
    add("--json", action="store_true", help="one JSON list of answers instead of lines")
    add("--debug", action="store_true", help="tracebacks of errors")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
