"""A small network with and without its teacher, on letters: a table over several seeds.

    python -m benchmarks.own_photos.distillation [DIR]

The teacher is ResNet-20 for images of 32 pixels, the student LeNet-5, all from random weights and
with the same flags; the student learns from labels, from the teacher's logits, and from its
features as well. What is chosen is chosen by the validation images. Runs that are in DIR are not
repeated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
# Layers of 32, 16 and 8 pixels, the student's first: what ends each stage of the teacher, and the
# last layer of its size in the student.
FEATURES = (
    "conv1.relu:stage1.block3.relu,conv2.relu:stage2.block3.relu,conv2.pool:stage3.block3.relu"
)


class Result(NamedTuple):
    """Top-1 of a run on the validation and on the test images: shares."""

    validation: float
    test: float


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
) -> Mapping[str, Sequence[Result]]:
    """Returns the accuracies of each run, by row of the table."""
    big = directory / "teacher"
    results = {"the teacher, ResNet-20": [_result(big, photos, [*TEACHER], 1, TEACHER_EPOCHS)]}
    for row, (name, flags) in enumerate(rows(big).items()):
        results[name] = [
            _result(directory / f"{row}-{seed}", photos, [*STUDENT, *flags], seed, num_epochs)
            for seed in range(1, seeds + 1)
        ]
    return results


def rows(teacher: Path) -> Mapping[str, Sequence[str]]:
    """Returns the flags of each row beside those of all students."""
    taught = f"--teacher_checkpoint={teacher}"
    return {
        "LeNet-5 without a teacher": [],
        "LeNet-5 with the teacher": [taught],
        "LeNet-5 with the teacher and its features": [taught, f"--teacher_features={FEATURES}"],
    }


def _result(train_dir: Path, photos: Path, flags: Sequence[str], seed: int, epochs: int) -> Result:
    """Trains and evaluates a network, if that was not done."""
    if not _evaluations(train_dir, "test"):
        call(
            [
                *("train", *flags, f"--tf_random_seed={seed}", f"--num_epochs={epochs}"),
                *(f"--data_dir={photos}", f"--cache_dir={photos.parent / 'cache'}"),
                f"--train_dir={train_dir}",
            ]
        )
    result = Result(*(_top_1(train_dir, subset) for subset in ("validation", "test")))
    print(f"{train_dir.name}: top-1 {result.test:.2%}", flush=True)
    return result


def _top_1(train_dir: Path, subset: str) -> float:
    """Evaluates a trained network on a part of the images, if that was not done."""
    if not _evaluations(train_dir, subset):
        flags = ["--device=cpu", f"--data_subset={subset}", f"--eval_dir={train_dir / subset}"]
        call(["eval", f"--train_dir={train_dir}", *flags])
    (found,) = _evaluations(train_dir, subset)
    return json.loads(found.read_text())["top_1"]


def _evaluations(train_dir: Path, subset: str) -> list[Path]:
    return [*(train_dir / subset).rglob("eval.json")]


def markdown(results: Mapping[str, Sequence[Result]]) -> list[str]:
    """Returns the table: mean and standard deviation in percent, and the test of each run."""
    table = ["| network | validation | test | test of each seed |", "|---|---|---|---|"]
    for name, runs in results.items():
        validation, test = ([100 * value for value in part] for part in zip(*runs, strict=True))
        each = ", ".join(f"{value:.1f}" for value in test)
        table.append(
            f"| {name} | {mean_and_spread(validation)} | {mean_and_spread(test)} | {each} |"
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
