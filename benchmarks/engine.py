"""What the engine costs: its step beside a bare loop, eight towers, and Keras' fit.

    python -m benchmarks.engine [--rounds=5]

All sides train EfficientNet-Lite0 on batches of 32 random images of 224 px in float32, with
Nesterov momentum and weight decay, each in a process of its own and in turn (see
benchmarks/turns.py and, for the images, benchmarks/training_sides.py).
"""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks import training_sides
from benchmarks.turns import Side, seconds_in_turn
from common import process

STEPS_PER_TURN = 3
MODEL = "efficientnet_lite0"
# Name -> the function that makes it, and what it is called with.
SIDES = {
    "bare loop": (training_sides.bare_loop, MODEL, STEPS_PER_TURN),
    "engine, 1 tower": (training_sides.engine, MODEL, STEPS_PER_TURN),
    "engine, 8 towers": (training_sides.engine, MODEL, STEPS_PER_TURN, 8),
    "Keras fit, Keras' batch norm": (training_sides.fit_with_keras_layers, MODEL, STEPS_PER_TURN),
}
# What is promised of each side's images/s, as a share of another's.
RATIOS = {
    ("engine, 1 tower", "bare loop"): 0.97,
    ("engine, 8 towers", "bare loop"): 0.90,
    ("engine, 1 tower", "Keras fit, Keras' batch norm"): 1.5,
}


def main() -> None:
    """Run all sides in turn and print images/s and ratios with their spread."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    rounds = parser.parse_args().rounds
    sides: dict[str, Side] = {}
    for name, (make, *arguments) in SIDES.items():
        started = time.perf_counter()
        sides[name] = Side(make, *arguments)
        sides[name].take_turn()
        print(f"{name}: built and warmed up in {time.perf_counter() - started:.0f} s", flush=True)
    images = STEPS_PER_TURN * training_sides.BATCH_SIZE
    _print(
        {
            name: [images / value for value in seconds]
            for name, seconds in seconds_in_turn(sides, rounds).items()
        }
    )


def _print(speeds: dict[str, list[float]]) -> None:
    print(f"\n{'images/s':30}{'median':>8}{'lowest':>9}{'highest':>9}")
    for name, values in speeds.items():
        print(f"{name:30}{statistics.median(values):8.1f}{min(values):9.1f}{max(values):9.1f}")
    print(f"\n{'ratio, within a round':60}{'median':>8}{'lowest':>9}{'highest':>9}{'asked':>8}")
    for (side, peer), asked in RATIOS.items():
        ratios = [a / b for a, b in zip(speeds[side], speeds[peer], strict=True)]
        row = f"{side} / {peer:40}"
        print(
            f"{row:60}{statistics.median(ratios):8.3f}{min(ratios):9.3f}{max(ratios):9.3f}"
            f"{asked:8.2f}"
        )


if __name__ == "__main__":
    process.restart_with_defaults()
    main()
