"""The command line of accuracy.py, and the artifacts that it means."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from common import commands, paths
from common.commands import at_least
from common.errors import DataError, UsageError
from common.files import sha256_of
from inference.accuracy import report
from inference.accuracy.page import PAGE_FILE
from inference.predictions import table
from inference.predictions.sources.opening import DEFAULT_DATA
from inference.predictions.table import CLASSES, HOME, MANIFEST_FILE, read_manifest

DEFAULT_WORST = 100
_EXAMPLES = f"""\
One artifact: {report.RESULT_FILE}, {report.LINES_FILE} and {PAGE_FILE} are written into it.
Several: {report.COMPARISON_FILE} and {report.PICTURE_FILE} are written into the first one.

examples:
  python accuracy.py -m efficientnet_lite0
  python accuracy.py -m efficientnet_lite0 -d imagenet__10-crop
  python accuracy.py evaluation/lite0/digits evaluation/lite0_int8/digits
"""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of accuracy.py's flags."""
    parser = commands.OneLineParser(
        prog="accuracy.py",
        description="Compute the accuracy of predictions that prediction.py has written.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "artifacts",
        nargs="*",
        metavar="DIR",
        type=paths.argument,
        help="directories that prediction.py has written; several are compared",
    )
    add("-m", "--model", help=f"for {HOME}/MODEL/DATA instead of DIR, or an exported file")
    add("-d", "--data", help=f"with --model; default: {DEFAULT_DATA}. Or the directory itself")
    add(
        "--classes",
        choices=CLASSES,
        help="whether all classes of the network compete, or only those of the data set; default: "
        "as they were predicted",
    )
    add(
        "--real_labels",
        metavar="FILE",
        type=paths.argument,
        help="real.json of ImageNet-ReaL: its accuracies are reported, too",
    )
    add(
        "--worst",
        type=at_least(0),
        help=f"images on {PAGE_FILE}, 0 for no page; default: {DEFAULT_WORST}",
    )
    add("--output_dir", metavar="DIR", type=paths.argument, help="for the files that are written")
    add("--debug", action="store_true", help="print tracebacks of errors")
    return parser


def artifacts(arguments: argparse.Namespace) -> list[Path]:
    """Returns the directories of the artifacts.

    Raises:
        UsageError: None is given, or they are given in two ways, or --worst has no effect.
        DataError: There are no predictions of the model and the data.
    """
    given: Sequence[Path] = arguments.artifacts
    if given and (arguments.model is not None or arguments.data is not None):
        raise UsageError("give directories of predictions, or --model and --data, not both")
    if not given:
        return [_artifact(arguments.model, arguments.data)]
    if len({os.path.realpath(path) for path in given}) < len(given):
        raise UsageError("a directory of predictions is given twice")
    if len(given) > 1 and arguments.worst is not None:
        raise UsageError(f"--worst has no effect with several artifacts: {PAGE_FILE} is of one")
    return list(given)


def names_of(directories: Sequence[Path]) -> list[str]:
    """Returns a short name for each directory: what follows the part that all have in common."""
    absolute = [os.path.abspath(path) for path in directories]
    common = os.path.commonpath(absolute)
    if len(absolute) == 1:
        return [os.path.basename(absolute[0])]
    return [os.path.relpath(path, common) for path in absolute]


def _artifact(model: str | None, data: str | None) -> Path:
    if data is not None and (Path(data) / MANIFEST_FILE).exists():
        found = read_manifest(Path(data))["model"]
        if model not in (None, found, Path(data).absolute().parent.name):
            raise UsageError(f"--data={data} holds predictions of {found}, not of --model={model}")
        return Path(data)
    if model is None:
        raise UsageError("give --model=MODEL, or directories that prediction.py has written")
    directory = HOME / model / _folder(data or DEFAULT_DATA)
    if not directory.is_dir() and _is_file(model):
        return _of_file(Path(model), data or DEFAULT_DATA)
    if not directory.is_dir():
        raise DataError(f"there are no predictions in {directory}: {_advice(model, data)}")
    return directory


def _folder(name: str) -> str:
    return name.replace("=", "_").replace(".", "_")


def _is_file(model: str) -> bool:
    """Whether --model names an exported file, as it may for prediction.py."""
    return os.sep in model or Path(model).suffix in (".tflite", ".onnx") or Path(model).exists()


def _of_file(file: Path, data: str) -> Path:
    """Returns the predictions of an exported file, which lie under its network's name.

    Raises:
        DataError: There are none, or several, of that data set.
    """
    found: dict[Path, str] = {}
    name = os.path.basename(os.path.abspath(file))
    for path in sorted(HOME.glob(f"*/*/{MANIFEST_FILE}")):
        manifest = table.read_manifest(path.parent)
        if manifest.get("file") == name and _is_same(file, manifest.get("sha256")):
            found[path.parent] = manifest["data"]["name"]
    plain = _folder(f"{data}__{name}")
    matching = [
        directory
        for directory, data_name in found.items()
        if directory.name in (plain, _folder(data)) or data_name == data
    ]
    matching = [path for path in matching if path.name == plain] or matching
    if len(matching) == 1:
        return matching[0]
    quoted = paths.quoted(str(file))
    if not found:
        raise DataError(
            f"there are no predictions of {file} in {HOME}/: write them with python prediction.py "
            f"--model={quoted} --data={paths.quoted(data)}"
        )
    directories = ", ".join(str(path) for path in matching or found)
    reason = "several predictions" if matching else "no predictions"
    raise DataError(f"{reason} of {file} and {data}: give the directory, one of {directories}")


def _is_same(file: Path, sha256: str | None) -> bool:
    """Whether predictions are of this file, and not of an earlier one of its name."""
    return not file.is_file() or sha256 in (None, sha256_of(file))


def _advice(model: str, data: str | None) -> str:
    others = sorted(path.parent.name for path in (HOME / model).glob(f"*/{MANIFEST_FILE}"))
    if others:
        return f"--data is one of {', '.join(others)}"
    models = sorted({path.parts[1] for path in HOME.glob(f"*/*/{MANIFEST_FILE}")})
    if models:
        return f"--model is one of {', '.join(models)}"
    flag = "" if data is None else f" --data={paths.quoted(data)}"
    return f"write them with python prediction.py --model={paths.quoted(model)}{flag}"
