"""INT8 files of a quantization-aware training and of a calibration, letters and digits: a table.

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
from common import commands, installation, paths
from common.commands import at_least

LETTERS, DIGITS = "letters", "digits"
# Flags of all runs on a data set.
COMMON = {
    LETTERS: (
        *("--device=cpu", "--batch_size=32", "--horizontal_flip=off", "--crop_area=0.5,1"),
        *("--learning_rate_schedule=cosine", "--moving_average_decay=0.98", "--display_every=50"),
    ),
    DIGITS: (f"--flagfile={installation.HOME / 'recipes/demo.flags'}",),
}
_ANSWERS = re.compile(r"first class on ([\d,]+) of ([\d,]+) .*top-1 ([\d.]+)% -> ([\d.]+)%")


class Candidate(NamedTuple):
    """A network and its training.

    Attributes:
        name: on the command line, and of the directories of its runs.
        title: in the table.
        data: LETTERS or DIGITS.
        network: flags.
        first, further: flags of the training in float, and of the further epochs.
    """

    name: str
    title: str
    data: str
    network: Sequence[str]
    first: Sequence[str]
    further: Sequence[str]


CANDIDATES = (
    Candidate(
        "lite0",
        "EfficientNet-Lite0, letters, 64 px",
        LETTERS,
        ("--model=efficientnet_lite0", "--image_size=64"),
        ("--pretrained", "--num_epochs=4", "--learning_rate=0.03"),
        ("--num_epochs=2", "--learning_rate=0.003"),
    ),
    Candidate(
        "resnet20",
        "ResNet-20, letters, 32 px",
        LETTERS,
        ("--model=resnet20", "--image_size=32"),
        ("--num_epochs=12", "--learning_rate=0.05", "--num_learning_rate_warmup_epochs=1"),
        ("--num_epochs=2", "--learning_rate=0.005"),
    ),
    Candidate(
        "digits",
        "EfficientNet-Lite0, digits, 32 px",
        DIGITS,
        (),
        (),
        (
            *("--num_epochs=2", "--eval_every_epochs=2", "--learning_rate=0.0016"),
            "--num_learning_rate_warmup_epochs=0",
        ),
    ),
)


class Row(NamedTuple):
    """A row of one run.

    Attributes:
        title: of the network or file.
        top_1: in percent.
        same: percent of images to which a file gives the first class of its network; None of a
            network itself. That of a quantization-aware training is the network in 8 bits.
    """

    title: str
    top_1: float
    same: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is missing and prints the table; returns the exit code."""
    parser = commands.parser(
        "python -m benchmarks.own_photos.quantization", __doc__, allow_abbrev=False
    )
    default = Path("runs/quantization")
    parser.add_argument("directory", nargs="?", type=paths.argument, default=default, metavar="DIR")
    parser.add_argument("--seeds", type=at_least(1), default=3, help="runs of each row")
    parser.add_argument("--num_images", type=at_least(260), default=3000)
    names = [candidate.name for candidate in CANDIDATES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="networks")
    options = parser.parse_args(arguments)

    def run() -> None:
        photos = options.directory / LETTERS
        if not photos.exists():
            options.directory.mkdir(parents=True, exist_ok=True)
            letters.write(photos, options.num_images, image_size=64, seed=1)
        results = {
            candidate.title: [
                _rows(options.directory, candidate, seed) for seed in range(1, options.seeds + 1)
            ]
            for candidate in CANDIDATES
            if candidate.name in options.only
        }
        print("\n".join(markdown(results)))

    return commands.run(run)


def _rows(directory: Path, candidate: Candidate, seed: int) -> Sequence[Row]:
    """Returns the rows of a run, which is trained if that was not done."""
    runs = directory / f"{candidate.name}-{seed}"
    result = runs / "rows.json"
    if not result.exists():
        first, longer, aware = (runs / name for name in ("float", "longer", "aware"))
        flags = [*COMMON[candidate.data], *candidate.network, f"--tf_random_seed={seed}"]
        flags.append(f"--data_dir={directory / candidate.data}")
        if candidate.data == LETTERS:
            flags.append(f"--cache_dir={directory / 'cache'}")
        call(["train", *flags, *candidate.first, f"--train_dir={first}"])
        further = [*flags, *candidate.further, f"--init_checkpoint={first}"]
        call(["train", *further, f"--train_dir={longer}"])
        call(["train", *further, "--quantization_aware", f"--train_dir={aware}"])
        rows = [
            *_of_export(first, "float", "calibrated INT8"),
            *_of_export(longer, "float, further epochs", "calibrated INT8, further epochs"),
            _of_export(aware, "", "quantization-aware INT8, further epochs")[1],
        ]
        result.write_text(json.dumps(rows))
    rows = [Row(*row) for row in json.loads(result.read_text())]
    print(f"{runs.name}: {', '.join(f'{row.top_1:.2f}' for row in rows)}", flush=True)
    return rows


def _of_export(train_dir: Path, network: str, file: str) -> tuple[Row, Row]:
    """Writes the INT8 file of a run; returns the rows of the network and of the file.

    The network of a quantization-aware run is that in 8 bits.
    """
    from exporters import exporting
    from exporters.plan import INT8, Plan
    from inference import source
    from inference.source import Request

    lines: list[str] = []
    plan = Plan(tflite=train_dir / "int8.tflite", quantize=INT8)
    exporting.export(source.load(Request(train_dir=train_dir)), plan, lines.append)
    (found,) = filter(None, map(_ANSWERS.search, lines))
    num_same, num_images = (int(found[place].replace(",", "")) for place in (1, 2))
    same = 100 * num_same / num_images
    return Row(network, float(found[3]), None), Row(file, float(found[4]), same)


def markdown(results: Mapping[str, Sequence[Sequence[Row]]]) -> list[str]:
    """Returns the table: mean and standard deviation in percent, and each run."""
    table = ["| network | | top-1 | each seed | as its network |", "|---|---|---|---|---|"]
    for title, runs in results.items():
        for rows in zip(*runs, strict=True):
            values = [row.top_1 for row in rows]
            each = ", ".join(f"{value:.1f}" for value in values)
            same = [row.same for row in rows if row.same is not None]
            agreement = mean_and_spread(same) if same else "-"
            cells = [title, rows[0].title, mean_and_spread(values), each, agreement]
            table.append(f"| {' | '.join(cells)} |")
    return table


if __name__ == "__main__":
    sys.exit(main())
