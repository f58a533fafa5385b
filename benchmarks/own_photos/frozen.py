"""What a frozen backbone saves: images/s beside those of full training.

    python -m benchmarks.own_photos.frozen [--image_size=96] [--batch_size=32] [--rounds=7]

Both candidates are the engine of train.py on batches of random images, on the CPU in float32, each
in a process of its own, in rounds (see benchmarks/rounds.py). The frozen one trains the classifier
alone (--freeze=backbone). At least 2.5 times the images/s are asked of EfficientNet-Lite0 on two
cores.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence

from benchmarks import training
from benchmarks.rounds import CandidateProcess, ratios, run_rounds, spread
from common import commands, process
from common.commands import at_least

FULL, FROZEN = "full training", "frozen backbone"
FLAGS = {FULL: {}, FROZEN: {"freeze": "backbone"}}
ASKED = 2.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the images/s of both and their ratio; returns the exit code."""
    parser = commands.parser("python -m benchmarks.own_photos.frozen", __doc__, allow_abbrev=False)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--image_size", type=at_least(1), default=96, help="in pixels; default 96")
    parser.add_argument("--batch_size", type=at_least(1), default=32, help="default 32")
    parser.add_argument("--steps", type=at_least(1), default=10, help="of a round; default 10")
    parser.add_argument("--rounds", type=at_least(1), default=7, help="default 7")
    options = parser.parse_args(arguments)

    def run() -> None:
        speeds = measure(
            options.model,
            image_size=options.image_size,
            batch_size=options.batch_size,
            steps=options.steps,
            rounds=options.rounds,
        )
        print("\n".join(table(speeds)))

    return commands.run(run)


def measure(
    model: str, *, image_size: int, batch_size: int, steps: int, rounds: int
) -> dict[str, list[float]]:
    """Returns the images/s of each candidate, one a round; a first round is not counted."""
    runs, processes = {}, []
    try:
        for name, flags in FLAGS.items():
            make = functools.partial(
                training.engine, image_size=image_size, batch_size=batch_size, **flags
            )
            started = time.perf_counter()
            candidate = CandidateProcess(make, model, steps)
            processes.append(candidate)
            candidate.run()
            runs[name] = candidate.seconds
            print(
                f"{name}: built and warmed up in {time.perf_counter() - started:.0f} s", flush=True
            )
        seconds = run_rounds(runs, rounds)
    finally:
        for candidate in processes:
            candidate.stop()
    return {
        name: [steps * batch_size / value for value in values] for name, values in seconds.items()
    }


def table(speeds: dict[str, list[float]]) -> list[str]:
    """Returns a row for each candidate and one for the ratio: median, lowest and highest."""
    rows = [f"{'images/s':34}{'median':>8}{'lowest':>9}{'highest':>9}"]
    for name, values in speeds.items():
        median, lowest, highest = spread(values)
        rows.append(f"{name:34}{median:8.1f}{lowest:9.1f}{highest:9.1f}")
    median, lowest, highest = spread(ratios(speeds[FROZEN], speeds[FULL]))
    row = f"{FROZEN} / {FULL}"
    return [*rows, f"{row:34}{median:8.2f}{lowest:9.2f}{highest:9.2f}  (asked: {ASKED})"]


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
