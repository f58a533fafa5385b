"""Speed of answers: batch norm within the convolutions, next to the network as it was trained.

    python -m benchmarks.exported.inference [--models=efficientnet_lite0,resnet50]
        [--dtypes=float32,bfloat16] [--batch_size=32] [--rounds=8]

Both forms of a network are in one process, at its own image size and with random weights. Each
answers one batch a round, after two that are not counted; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.rounds import ratios, run_rounds, spread_text
from common import commands, process

FOLDED, PLAIN = "folded", "as trained"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    parser = commands.parser("python -m benchmarks.exported.inference", __doc__)
    whole = commands.at_least(1)
    parser.add_argument("--models", default="efficientnet_lite0,resnet50")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--batch_size", type=whole, default=32, help="default 32")
    parser.add_argument("--image_size", type=whole, help="default: the model's")
    parser.add_argument("--rounds", type=whole, default=8, help="default 8")
    options = parser.parse_args(arguments)
    return commands.run(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    print("| network | dtype | folded, images/s | as trained | ratio |\n|---|---|---|---|---|")
    for model in options.models.split(","):
        for dtype in options.dtypes.split(","):
            speeds = measure(model, dtype, options)
            cells = [
                spread_text(speeds[FOLDED], 1),
                spread_text(speeds[PLAIN], 1),
                spread_text(ratios(speeds[FOLDED], speeds[PLAIN]), 2),
            ]
            print(f"| `{model}` | {dtype} | {' | '.join(cells)} |", flush=True)


def measure(model: str, dtype: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Returns the images/s of each form in every round."""
    candidates = dict(_candidates(model, dtype, options))
    run_rounds(candidates, 2)
    return run_rounds(candidates, options.rounds)


def _candidates(
    model: str, dtype: str, options: argparse.Namespace
) -> Iterator[tuple[str, Callable[[], float]]]:
    import numpy as np
    import tensorflow as tf

    from models import registry

    spec = registry.get(model)
    size = options.image_size or spec.image_size
    network = spec.build(num_classes=1000, image_size=size, dtype=dtype)
    folded = network.for_inference()
    folded.update()
    random = np.random.default_rng(0)
    pixels = random.uniform(0, 255, [options.batch_size, size, size, 3]).astype(np.float32)

    def candidate(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[], float]:
        images, answer = tf.constant(pixels), tf.function(function, autograph=False)

        def run() -> float:
            started = time.perf_counter()
            _wait_for(answer(images))
            return options.batch_size / (time.perf_counter() - started)

        return run

    yield FOLDED, candidate(folded)
    yield PLAIN, candidate(lambda images: network(images, training=False).logits)


def _wait_for(logits: Any) -> None:
    logits.numpy()


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
