"""Training and inference compared with timm, Keras and a bare loop, on the CPU.

    make bench-peers
    python -m benchmarks.peers [--networks=resnet50,keras_mobilenetv2] [--modes=train,infer]
                               [--rounds=8] [--batch_size=32] [--dtypes=float32]
                               [--output=runs/peers.json]

Every candidate takes --steps steps a round, on one batch of random images in memory, in a process
of its own that waits while the others run; ratios are taken within a round. Training is train.py's
step, a tf.function without any engine, Keras' fit, and timm with fused Nesterov momentum. Inference
is what eval.py and prediction.py run, a tf.function, Keras' predict, and timm within
inference_mode. timm runs as its users run it on CPUs: channels_last, on all cores, in float32 and
by autocast in bfloat16, with and without torch.compile, whose weights may also be frozen; it needs
`make venv-peers`. The peak is that of TensorFlow's products of square matrices in the precision of
the candidate, in the same round. Without bfloat16 instructions (avx512_bf16 or amx_bf16 in
/proc/cpuinfo) timm's bfloat16 takes minutes a step: leave it out with --dtypes=float32.

Rounds are written at once: the same command resumes where it was stopped. Name another --output to
measure again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import training
from benchmarks.gpu import program
from benchmarks.gpu.peer import TIMM_NAMES
from benchmarks.peers import candidates, comparison, table
from benchmarks.peers.candidates import Task
from common import commands, files, paths, process
from common.commands import at_least, write_line
from common.errors import DataError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is not in the file yet and prints all tables; returns the exit code."""
    parser = commands.parser("python -m benchmarks.peers", __doc__, allow_abbrev=False)
    networks = tuple(TIMM_NAMES)
    parser.add_argument("--networks", type=_some_of(networks), default=networks)
    parser.add_argument("--modes", type=_some_of(candidates.MODES), default=candidates.MODES)
    parser.add_argument("--rounds", type=at_least(1), default=8, help="default 8")
    parser.add_argument("--steps", type=at_least(1), default=2, help="of a round (default 2)")
    parser.add_argument("--batch_size", type=at_least(1), default=training.BATCH_SIZE)
    parser.add_argument("--image_size", type=at_least(32), default=training.IMAGE_SIZE)
    parser.add_argument("--dtypes", type=_some_of(candidates.DTYPES), default=candidates.DTYPES)
    parser.add_argument("--output", type=paths.argument, default=Path("runs/peers.json"))
    options = parser.parse_args(arguments)
    return commands.run(lambda: _measure_all(options))


def _some_of(names: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        unknown = sorted(set(text.split(",")) - set(names))
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(names)}")
        return tuple(text.split(","))

    return read


def _measure_all(options: argparse.Namespace) -> None:
    results = _read(options.output)
    sizes = (options.batch_size, options.image_size, options.steps, options.dtypes)
    if not program.PYTHON.exists():
        write_line("timm: not measured, without .venv-peers (make venv-peers)")
    for network in options.networks:
        for mode in options.modes:
            task = Task(network, mode, *sizes)
            record = results.setdefault(task.title, {"rounds": [], "peaks": []})
            if len(record["rounds"]) < options.rounds:
                _check_dtypes(task, record, options.output)
                write_line(f"{task.title}: from round {len(record['rounds']) + 1}")
                for _ in comparison.measure(task, record, options.rounds):
                    _write(options.output, results)
    for line in table.lines(results):
        write_line(line)


def _check_dtypes(task: Task, record: dict[str, Any], output: Path) -> None:
    """Refuses to add rounds of some precisions to rounds of others."""
    before = set(record["peaks"][0] if record["peaks"] else task.dtypes)
    if before != set(task.dtypes):
        raise DataError(
            f"{output} has rounds of {task.title} with --dtypes={','.join(sorted(before))}: "
            "repeat that, or name another file with --output"
        )


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): give another file with --output"
        ) from error


def _write(path: Path, results: dict[str, Any]) -> None:
    with files.write_errors(path, "give another file with --output"):
        files.make_directory(path.parent)
        files.write_text(path, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
