"""What a run does before its first step, phase by phase, on 1 and on 8 CPU towers.

    python -m benchmarks.scaling.start_up [--rounds=3] [--towers 1 8]

Each start is train.py with EfficientNet-Lite0 on 4 synthetic images of 224 px a tower, in a process
of its own, from the command to the end of its first step:

imports: Python, the flags, TensorFlow and this project; building: devices, variables and the rest
of the set-up; tracing: Python makes the graph of a step; first step: TensorFlow optimizes and
places the graph, and runs it. processor: what all cores did meanwhile.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.rounds import run_rounds, spread
from common import commands, process

PHASES = ("imports", "building", "tracing", "first step")
COLUMNS = (*PHASES, "in all", "processor")
# Towers -> the most seconds from the command to the end of the first step.
ASKED = {1: 7.0, 8: 15.0}
_FLAGS = ("--model=efficientnet_lite0", "--device=cpu", "--batch_size=4", "--num_batches=1")
_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the starts that the command line asks for; returns the exit code."""
    parser = commands.parser("python -m benchmarks.scaling.start_up", __doc__)
    parser.add_argument("--rounds", type=commands.at_least(1), default=3, help="default 3")
    parser.add_argument(
        "--towers", type=commands.at_least(1), nargs="+", default=list(ASKED), help="default 1 8"
    )
    options = parser.parse_args(arguments)
    return commands.run(lambda: _measure(options.towers, options.rounds))


def _measure(towers: Sequence[int], rounds: int) -> None:
    starts = {str(number): functools.partial(start, number) for number in towers}
    results = run_rounds(starts, rounds)
    print(f"{'towers':8}" + "".join(f"{name:>20}" for name in COLUMNS) + f"{'asked':>8}")
    for number in towers:
        seconds = results[str(number)]
        cells = [_cell([start[name] for start in seconds]) for name in COLUMNS]
        asked = ASKED.get(number)
        print(f"{number:<8}" + "".join(cells) + f"{asked or '':>8}")


def _cell(seconds: Sequence[float]) -> str:
    middle, low, high = spread(seconds)
    return f"{middle:7.2f} ({low:.2f}-{high:.2f})".rjust(20)


def start(towers: int, flags: Sequence[str] = _FLAGS) -> Mapping[str, float]:
    """Starts train.py in a process; returns the seconds of each column."""
    started = time.monotonic()
    command = [sys.executable, "-c", f"import {__spec__.name} as b; b.run_to_first_step()"]
    environment = {**process.DEFAULTS, **os.environ}
    done = subprocess.run(
        [*command, f"--num_gpus={towers}", *flags],
        cwd=_ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    clock = json.loads(done.stdout.splitlines()[-1])
    times = [started, *(clock[name] for name in PHASES)]
    seconds = {name: times[i + 1] - times[i] for i, name in enumerate(PHASES)}
    return seconds | {"in all": times[-1] - started, "processor": clock["processor"]}


def run_to_first_step() -> None:
    """Runs train.py with the arguments of this process; prints when each phase ended, and ends."""
    import train

    clock: dict[str, float] = {}

    def set_up(*arguments, **options):
        clock["imports"] = time.monotonic()
        return real_set_up(*arguments, **options)

    def call(loop, num_steps, report, summarize=False):
        import tensorflow as tf

        clock["building"] = time.monotonic()
        graph = loop._graph(num_steps)
        graph.get_concrete_function(tf.constant(report), tf.constant(summarize))
        clock["tracing"] = time.monotonic()
        values, _ = real_call(loop, num_steps, report, summarize)
        values.numpy()
        clock["first step"] = time.monotonic()
        clock["processor"] = sum(os.times()[:2])
        print(json.dumps(clock), flush=True)
        os._exit(0)

    with process.quiet_startup():
        from benchmark_cnn import training_setup
        from benchmark_cnn.step.step_loop import StepLoop
    real_set_up, real_call = training_setup.set_up, StepLoop.__call__
    training_setup.set_up = set_up
    setattr(StepLoop, "__call__", call)  # noqa: B010
    sys.exit(train.main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
