"""What the switches of fine-tuning are worth: letters on photographs, trained in five variants.

    python -m benchmarks.own_photos.table [DIR] [--seeds=3] [--variants=base,flip]

DIR (runs/own_photos) gets the class folders of benchmarks.own_photos.letters, the cache of records
that train.py makes of them, and a run of EfficientNet-Lite0 for each variant and seed, on the CPU.
Its top-1 is that of the test part, which no run uses to choose. It is also given for b, d, p and q,
which are mirror images of one another. Finished runs are not run again, and an interrupted one is
resumed: the same command continues.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.own_photos import letters
from common import commands, files, installation, paths
from common.commands import at_least
from common.errors import DataError

MIRRORED = ("b", "d", "p", "q")
_PRETRAINED = "--pretrained"
COMMON = (
    *("--model=efficientnet_lite0", "--device=cpu", "--image_size=64", "--batch_size=16"),
    *("--optimizer=momentum", "--learning_rate=0.02", "--learning_rate_schedule=cosine"),
    *("--num_learning_rate_warmup_epochs=0.3", "--moving_average_decay=0.98", "--crop_area=0.5,1"),
    "--display_every=50",
)
# Name -> its words in the table, and the flags beside those of all.
VARIANTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "base": ("base: ImageNet's weights, no flip", (_PRETRAINED, "--horizontal_flip=off")),
    "flip": ("flip on", (_PRETRAINED, "--horizontal_flip=on")),
    "frozen": ("backbone frozen", (_PRETRAINED, "--horizontal_flip=off", "--freeze=backbone")),
    "weighted": (
        "class weights balanced",
        (_PRETRAINED, "--horizontal_flip=off", "--class_weights=balanced"),
    ),
    "scratch": ("from random weights", ("--horizontal_flip=off",)),
}


class Result(NamedTuple):
    """Accuracies of one run: shares of all images, and of those of `MIRRORED`; and its seconds."""

    top_1: float
    mirrored: float
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is missing, prints the table, writes page and picture; returns the exit code."""
    options = _parser().parse_args(arguments)
    return commands.run(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser("python -m benchmarks.own_photos.table", __doc__, allow_abbrev=False)
    default = Path("runs/own_photos")
    parser.add_argument("directory", nargs="?", type=paths.argument, default=default, metavar="DIR")
    parser.add_argument("--seeds", type=at_least(1), default=3, help="runs of each variant")
    parser.add_argument("--variants", type=_variants, default=tuple(VARIANTS), help="default: all")
    parser.add_argument("--num_images", type=at_least(260), default=3000)
    parser.add_argument("--num_epochs", type=at_least(1), default=5)
    parser.add_argument("--picture", type=paths.argument, help="default: DIR/own_photos.png")
    parser.add_argument("--markdown", type=paths.argument, help="default: DIR/own_photos.md")
    return parser


def _variants(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        known = ", ".join(VARIANTS)
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {known}")
    return names


def _run(options: argparse.Namespace) -> None:
    directory = options.directory
    photos = directory / "letters"
    if not photos.exists():
        directory.mkdir(parents=True, exist_ok=True)
        letters.write(photos, options.num_images, image_size=96, seed=1)
    results = {
        name: [
            _result(directory / f"{name}-{seed}", photos, name, seed, options.num_epochs)
            for seed in range(1, options.seeds + 1)
        ]
        for name in options.variants
    }
    first = directory / f"{options.variants[0]}-1"
    text = "\n".join([_heading(_counts(first), options), "", *markdown(results)])
    print(text)
    picture = options.picture or directory / "own_photos.png"
    draw(results, picture)
    page = options.markdown or directory / "own_photos.md"
    with files.write_errors(page, "give another file with --markdown"):
        files.write_text(page, f"{text}\n")
    confused = directory / "*" / "own_photos" / "test" / "confusion.png"
    print(f"\nwritten: {page} and {picture}; what is confused: {confused}")


def _result(train_dir: Path, photos: Path, variant: str, seed: int, num_epochs: int) -> Result:
    """Returns the result of a run, which is trained and evaluated if that was not done."""
    path = train_dir / "result.json"
    if path.exists():
        return Result(**json.loads(path.read_text()))
    started = time.monotonic()
    cache = f"--cache_dir={photos.parent / 'cache'}"
    call(
        [
            *("train", *COMMON, *VARIANTS[variant][1], f"--tf_random_seed={seed}", cache),
            *(f"--data_dir={photos}", f"--train_dir={train_dir}", f"--num_epochs={num_epochs}"),
        ]
    )
    seconds = time.monotonic() - started
    evaluated = train_dir / "own_photos"
    flags = ["--device=cpu", "--data_subset=test", f"--eval_dir={evaluated}"]
    call(["eval", f"--train_dir={train_dir}", *flags])
    (found,) = evaluated.rglob("eval.json")
    result = _of_eval_json(json.loads(found.read_text()), seconds)
    files.write_text(path, json.dumps(result._asdict()) + "\n")
    print(f"{train_dir.name}: top-1 {result.top_1:.2%}, bdpq {result.mirrored:.2%}", flush=True)
    return result


def _counts(train_dir: Path) -> Mapping[str, int]:
    """Returns the number of images of each part, as a run has recorded them."""
    return json.loads((train_dir / "run.json").read_text())["starts"][-1]["data"]["examples"]


def _of_eval_json(evaluation: Mapping[str, Any], seconds: float) -> Result:
    chosen = [entry for entry in evaluation["classes"] if entry["name"] in MIRRORED]
    correct, examples = (sum(entry[key] for entry in chosen) for key in ("correct", "examples"))
    return Result(evaluation["top_1"], correct / examples, round(seconds, 1))


def call(arguments: Sequence[str]) -> None:
    """Runs a program of this project: its name and flags.

    Raises:
        DataError: it failed; with its last line.
    """
    command = [*installation.program(arguments[0]), *arguments[1:]]
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
        raise DataError(f"{arguments[0]} failed ({done.returncode}): {lines[-1]}")


def _heading(counts: Mapping[str, int], options: argparse.Namespace) -> str:
    listed = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return (
        f"EfficientNet-Lite0 on letters, 26 classes at 64 px ({listed} images), "
        f"{options.num_epochs} epochs on the CPU; top-1 on the test images in percent, mean "
        f"and standard deviation of {options.seeds} seeds:"
    )


def markdown(results: Mapping[str, Sequence[Result]]) -> list[str]:
    """Returns the table, a row for each variant."""
    rows = ["| variant | top-1 | b, d, p and q | seconds a run |", "|---|---|---|---|"]
    for name, runs in results.items():
        cells = [mean_and_spread([run[place] * 100 for run in runs]) for place in (0, 1)]
        seconds = statistics.mean(run.seconds for run in runs)
        rows.append(f"| {VARIANTS[name][0]} | {' | '.join(cells)} | {seconds:.0f} |")
    return rows


def mean_and_spread(values: Sequence[float]) -> str:
    """Returns mean and standard deviation as a table has them."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def draw(results: Mapping[str, Sequence[Result]], path: Path) -> None:
    """Draws a dot for each run and a line for each mean, all letters beside b, d, p and q."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.55 * len(results)), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("top-1 of all letters", "of b, d, p and q")
    for place, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        for row, runs in enumerate(results.values()):
            values = [100 * run[place] for run in runs]
            panel.plot(values, [row] * len(values), "o", color="#0072B2", alpha=0.6)
            panel.vlines(statistics.mean(values), row - 0.25, row + 0.25, color="#D55E00", lw=2)
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_xlabel("%")
        panel.set_xlim(0, 100)
        panel.grid(axis="x", color="#e5e5e5")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(results)), [VARIANTS[name][0] for name in results])
    panels[0].set_ylim(len(results) - 0.5, -0.5)
    with files.write_errors(path, "give another file with --picture"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_file(path) as file:
            figure.savefig(file, format="png")


if __name__ == "__main__":
    sys.exit(main())
