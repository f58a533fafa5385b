"""What a cluster costs: two workers compared with one process of two towers, same global batch.

    python -m benchmarks.cluster [--rounds=5] [--model=efficientnet_lite0] [--image_size=96]

Both train on this machine's processor; worker i computes on core i. In each round the workers also
take the same steps without exchanging anything, and exchange gradients without computing any: this
splits their step into compute, reduce, and what is left, the wait for each other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.cluster import candidates
from benchmarks.rounds import CandidateProcess, ratios, run_rounds, spread
from common import commands, process

GOAL = 0.90


def main() -> None:
    """Runs both in rounds, and prints images/s, their ratio, and the parts of a step."""
    parser = commands.parser("python -m benchmarks.cluster", __doc__)
    parser.add_argument("--rounds", type=commands.at_least(1), default=5, help="default 5")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--image_size", type=commands.at_least(16), default=96)
    parser.add_argument("--batch_size", type=commands.at_least(2), default=32, help="global")
    parser.add_argument(
        "--steps", type=commands.at_least(1), default=10, help="a round; default 10"
    )
    options = parser.parse_args()
    sizes = (options.model, options.steps, options.image_size, options.batch_size)
    alone = CandidateProcess(candidates.one_process, *sizes)
    hosts = tuple(f"127.0.0.1:{port}" for port in process.free_ports(candidates.NUM_WORKERS))
    workers = [
        CandidateProcess(candidates.worker, *sizes, hosts, i) for i in range(candidates.NUM_WORKERS)
    ]
    runs: dict[str, Callable[[], Any]] = {
        "one process": alone.run,
        "workers": lambda: _run_together(workers),
    }
    run_rounds(runs, 1)
    results = run_rounds(runs, options.rounds)
    for candidate in (alone, *workers):
        candidate.stop()
    _print(options.batch_size, results["one process"], results["workers"])


def _run_together(workers: list[CandidateProcess]) -> list[tuple[float, ...]]:
    for candidate in workers:
        candidate.begin()
    return [candidate.end() for candidate in workers]


def _print(
    batch_size: int, alone: list[tuple[float, ...]], workers: list[list[tuple[float, ...]]]
) -> None:
    chief = [each[0] for each in workers]
    steps, _, computes, reduces = (list(part) for part in zip(*chief, strict=True))
    times = [cost[0] for cost in alone]
    used, used_by_workers = [c[1] for c in alone], [sum(w[1] for w in each) for each in workers]
    rows = {
        "one process of 2 towers, images/s": [batch_size / s for s in times],
        "2 workers, images/s": [batch_size / s for s in steps],
        "ratio": ratios(times, steps),
        "ratio in processor time": ratios(used, used_by_workers),
        "a worker's step, ms": [1e3 * s for s in steps],
        "  compute, ms": [1e3 * s for s in computes],
        "  reduce, ms": [1e3 * s for s in reduces],
        "  wait, ms": [1e3 * max(0.0, s - c - r) for s, _, c, r in chief],
    }
    print(f"{'':36}{'median':>9}{'lowest':>9}{'highest':>9}")
    for name, values in rows.items():
        print(f"{name:36}" + "".join(f"{value:9.3f}" for value in spread(values)))
    print(f"\ngoal of the ratio: {GOAL}")


if __name__ == "__main__":
    sys.exit(commands.run(main))
