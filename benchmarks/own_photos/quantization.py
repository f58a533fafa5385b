"""INT8 files of a quantization-aware training and of a calibration, on letters: a table.

    python -m benchmarks.own_photos.quantization [DIR]

A network is trained in float, and then for further epochs: once more in float, once in 8 bits, with
the same flags. Top-1 is that of the INT8 file, and of the network in float, on the validation
images, on which nothing was chosen. Runs that are in DIR are not repeated.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.own_photos import letters
from benchmarks.own_photos.table import call, mean_and_spread
from common import commands, paths
from common.commands import at_least

COMMON = (
    *("--device=cpu", "--batch_size=32", "--horizontal_flip=off", "--crop_area=0.5,1"),
    *("--learning_rate_schedule=cosine", "--moving_average_decay=0.98", "--display_every=50"),
)
_TOP_1 = re.compile(r"top-1 ([\d.]+)% -> ([\d.]+)%")
_ROWS = ("float", "calibrated INT8", "calibrated INT8, further epochs", "quantization-aware INT8")


class Candidate(NamedTuple):
    """A network and its training.

    Attributes:
        first, further: flags of the training in float, and of the further epochs.
    """

    title: str
    model: str
    image_size: int
    first: Sequence[str]
    further: Sequence[str]


CANDIDATES = (
    Candidate(
        "EfficientNet-Lite0, 64 px",
        "efficientnet_lite0",
        64,
        ("--pretrained", "--num_epochs=4", "--learning_rate=0.03"),
        ("--num_epochs=2", "--learning_rate=0.003"),
    ),
    Candidate(
        "ResNet-20, 32 px",
        "resnet20",
        32,
        ("--num_epochs=12", "--learning_rate=0.05", "--num_learning_rate_warmup_epochs=1"),
        ("--num_epochs=2", "--learning_rate=0.005"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is missing and prints the table; returns the exit code."""
    parser = commands.parser(
        "python -m benchmarks.own_photos.quantization", __doc__, allow_abbrev=False
    )
    default = Path("runs/quantization")
    parser.add_argument("directory", nargs="?", type=paths.argument, default=default, metavar="DIR")
    parser.add_argument("--seeds", type=at_least(1), default=3, help="runs of each row")
    parser.add_argument("--num_images", type=at_least(260), default=3000)
    names = [candidate.model for candidate in CANDIDATES]
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    options = parser.parse_args(arguments)

    def run() -> None:
        photos = options.directory / "letters"
        if not photos.exists():
            options.directory.mkdir(parents=True, exist_ok=True)
            letters.write(photos, options.num_images, image_size=64, seed=1)
        results = {
            candidate.title: [
                _rows(options.directory / f"{candidate.model}-{seed}", photos, candidate, seed)
                for seed in range(1, options.seeds + 1)
            ]
            for candidate in CANDIDATES
            if candidate.model in options.models
        }
        print("\n".join(markdown(results)))

    return commands.run(run)


def _rows(directory: Path, photos: Path, candidate: Candidate, seed: int) -> Sequence[float]:
    """Returns the top-1 of each row, trained if that was not done."""
    result = directory / "top_1.json"
    if not result.exists():
        first, longer, aware = (directory / name for name in ("float", "longer", "aware"))
        data = [f"--data_dir={photos}", f"--cache_dir={photos.parent / 'cache'}"]
        flags = [*COMMON, *data, f"--model={candidate.model}", f"--tf_random_seed={seed}"]
        flags.append(f"--image_size={candidate.image_size}")
        call(["train", *flags, *candidate.first, f"--train_dir={first}"])
        further = [*flags, *candidate.further, f"--init_checkpoint={first}"]
        call(["train", *further, f"--train_dir={longer}"])
        call(["train", *further, "--quantization_aware", f"--train_dir={aware}"])
        in_float, calibrated = _of_export(first)
        rows = (in_float, calibrated, _of_export(longer)[1], _of_export(aware)[1])
        result.write_text(json.dumps(rows))
    rows = json.loads(result.read_text())
    print(f"{directory.name}: {', '.join(f'{row:.2f}' for row in rows)}", flush=True)
    return rows


def _of_export(train_dir: Path) -> tuple[float, float]:
    """Writes the INT8 file of a run; returns the top-1 of the network and of the file in percent.

    The network of a quantization-aware run is that in 8 bits, too.
    """
    from exporters import exporting
    from exporters.plan import INT8, Plan
    from inference import source
    from inference.source import Request

    lines: list[str] = []
    plan = Plan(tflite=train_dir / "int8.tflite", quantize=INT8)
    exporting.export(source.load(Request(train_dir=train_dir)), plan, lines.append)
    (found,) = filter(None, map(_TOP_1.search, lines))
    return float(found[1]), float(found[2])


def markdown(results: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    """Returns the table: mean and standard deviation in percent, and each run."""
    table = ["| network | | top-1 | each seed |", "|---|---|---|---|"]
    for title, runs in results.items():
        for name, values in zip(_ROWS, zip(*runs, strict=True), strict=True):
            each = ", ".join(f"{value:.1f}" for value in values)
            table.append(f"| {title} | {name} | {mean_and_spread(values)} | {each} |")
    return table


if __name__ == "__main__":
    sys.exit(main())
