"""A small network with and without its teacher, on letters: a table over several seeds.

    python -m benchmarks.own_photos.distillation [DIR]

The teacher is ResNet-20 for images of 32 pixels, the student LeNet-5, all from random weights and
with the same flags. Runs that are in DIR are not repeated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.own_photos import letters
from benchmarks.own_photos.table import call, mean_and_spread
from common import commands, paths
from common.commands import at_least

COMMON = (
    *("--device=cpu", "--image_size=32", "--batch_size=32", "--horizontal_flip=off"),
    *("--learning_rate_schedule=cosine", "--num_learning_rate_warmup_epochs=1"),
    *("--crop_area=0.5,1", "--moving_average_decay=0.99", "--display_every=100"),
)
TEACHER = (*COMMON, "--model=resnet20", "--learning_rate=0.05")
STUDENT = (*COMMON, "--model=lenet", "--learning_rate=0.02")
TEACHER_EPOCHS = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is missing and prints the table; returns the exit code."""
    parser = commands.parser(
        "python -m benchmarks.own_photos.distillation", __doc__, allow_abbrev=False
    )
    default = Path("runs/distillation")
    parser.add_argument("directory", nargs="?", type=paths.argument, default=default, metavar="DIR")
    parser.add_argument("--seeds", type=at_least(1), default=3, help="runs of each row")
    parser.add_argument("--num_images", type=at_least(260), default=3000)
    parser.add_argument("--num_epochs", type=at_least(1), default=15, help="of the student")
    options = parser.parse_args(arguments)

    def run() -> None:
        directory = options.directory
        photos = directory / "letters"
        if not photos.exists():
            directory.mkdir(parents=True, exist_ok=True)
            letters.write(photos, options.num_images, image_size=64, seed=1)
        print("\n".join(markdown(_results(directory, photos, options.seeds, options.num_epochs))))

    return commands.run(run)


def _results(
    directory: Path, photos: Path, seeds: int, num_epochs: int
) -> Mapping[str, Sequence[float]]:
    """Returns the top-1 of each run on the test images, by row of the table."""
    big = directory / "teacher"
    results = {"the teacher, ResNet-20": [_top_1(big, photos, [*TEACHER], 1, TEACHER_EPOCHS)]}
    rows = {
        "LeNet-5 without a teacher": [],
        "LeNet-5 with the teacher": [f"--teacher_checkpoint={big}"],
    }
    for row, (name, flags) in enumerate(rows.items()):
        results[name] = [
            _top_1(directory / f"{row}-{seed}", photos, [*STUDENT, *flags], seed, num_epochs)
            for seed in range(1, seeds + 1)
        ]
    return results


def _top_1(train_dir: Path, photos: Path, flags: Sequence[str], seed: int, epochs: int) -> float:
    """Trains and tests a network, if that was not done."""
    evaluated = train_dir / "tested"
    if not (found := [*evaluated.rglob("eval.json")]):
        call(
            [
                *("train", *flags, f"--tf_random_seed={seed}", f"--num_epochs={epochs}"),
                *(f"--data_dir={photos}", f"--cache_dir={photos.parent / 'cache'}"),
                f"--train_dir={train_dir}",
            ]
        )
        subset = ["--device=cpu", "--data_subset=test", f"--eval_dir={evaluated}"]
        call(["eval", f"--train_dir={train_dir}", *subset])
        found = [*evaluated.rglob("eval.json")]
    top_1 = json.loads(found[0].read_text())["top_1"]
    print(f"{train_dir.name}: top-1 {top_1:.2%}", flush=True)
    return top_1


def markdown(results: Mapping[str, Sequence[float]]) -> list[str]:
    """Returns the table: mean and standard deviation in percent, and each run."""
    rows = ["| network | top-1 | each seed |", "|---|---|---|"]
    for name, values in results.items():
        percent = [100 * value for value in values]
        each = ", ".join(f"{value:.1f}" for value in percent)
        rows.append(f"| {name} | {mean_and_spread(percent)} | {each} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
