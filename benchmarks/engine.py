"""What the engine costs: its step compared with a bare loop, eight towers, and Keras' fit.

    python -m benchmarks.engine [--rounds=5]

All candidates train EfficientNet-Lite0 on batches of 32 random images of 224 px in float32, with
Nesterov momentum and weight decay, each in a process of its own, in rounds (see
benchmarks/rounds.py and, for the images, benchmarks/training.py).
"""

from __future__ import annotations

import sys
import time

from benchmarks import training
from benchmarks.rounds import CandidateProcess, ratios, run_rounds, spread
from common import commands, process

STEPS_PER_RUN = 3
MODEL = "efficientnet_lite0"
# Name -> the function that builds it, and its arguments.
CANDIDATES = {
    "bare loop": (training.bare_loop, MODEL, STEPS_PER_RUN),
    "engine, 1 tower": (training.engine, MODEL, STEPS_PER_RUN),
    "engine, 8 towers": (training.engine, MODEL, STEPS_PER_RUN, 8),
    "Keras fit, Keras' batch norm": (training.fit, MODEL, STEPS_PER_RUN),
}
# (candidate, baseline) -> the promised ratio of their images/s.
RATIOS = {
    ("engine, 1 tower", "bare loop"): 0.97,
    ("engine, 8 towers", "bare loop"): 0.90,
    ("engine, 1 tower", "Keras fit, Keras' batch norm"): 1.5,
}


def main() -> None:
    """Runs all candidates in rounds and prints images/s and ratios with their spread."""
    parser = commands.parser("python -m benchmarks.engine", __doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    rounds = parser.parse_args().rounds
    runs = {}
    for name, (make, *arguments) in CANDIDATES.items():
        started = time.perf_counter()
        candidate = CandidateProcess(make, *arguments)
        candidate.run()
        runs[name] = candidate.seconds
        print(f"{name}: built and warmed up in {time.perf_counter() - started:.0f} s", flush=True)
    images = STEPS_PER_RUN * training.BATCH_SIZE
    _print(
        {
            name: [images / value for value in seconds]
            for name, seconds in run_rounds(runs, rounds).items()
        }
    )


def _print(speeds: dict[str, list[float]]) -> None:
    print(f"\n{'images/s':30}{'median':>8}{'lowest':>9}{'highest':>9}")
    for name, values in speeds.items():
        median, lowest, highest = spread(values)
        print(f"{name:30}{median:8.1f}{lowest:9.1f}{highest:9.1f}")
    print(f"\n{'ratio, within a round':60}{'median':>8}{'lowest':>9}{'highest':>9}{'asked':>8}")
    for (candidate, baseline), asked in RATIOS.items():
        median, lowest, highest = spread(ratios(speeds[candidate], speeds[baseline]))
        row = f"{candidate} / {baseline:40}"
        print(f"{row:60}{median:8.3f}{lowest:9.3f}{highest:9.3f}{asked:8.2f}")


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(commands.run(main))
