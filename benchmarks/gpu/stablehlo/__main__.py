"""XLA on our step next to timm, on a GPU machine without TensorFlow: a proxy for `--xla=step`.

    python -m benchmarks.gpu.stablehlo export [--networks=resnet50,efficientnet_lite0]
                                              [--output=runs/stablehlo]
    python -m benchmarks.gpu.stablehlo run FILE... [--rounds=3] [--steps=20]

`export` needs TensorFlow and no GPU: it writes the step of `train.py --xla=step` (forward and
backward pass, weight decay, momentum, moving statistics) in StableHLO, before XLA optimizes
anything. `run` needs JAX, PyTorch and timm, and no TensorFlow: JAX's XLA compiles the step for the
device that it finds, timm trains the same network (AMP, channels_last, torch.compile), and both
take --steps steps in turn.

JAX's XLA is not the one in TensorFlow, and nothing but the step is in the program: the figures are
those of a proxy, not of train.py.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import rounds
from benchmarks.gpu import program, timm_steps
from benchmarks.gpu.peer import TIMM_NAMES
from benchmarks.gpu.stablehlo import step_file
from benchmarks.gpu.stablehlo.step_file import Step
from benchmarks.rounds import CandidateFailed
from common import commands, files, installation, paths, process
from common.commands import at_least, write_line
from common.errors import DataError

_NETWORKS = ("resnet50", "efficientnet_lite0")
_OURS, _TIMM = "our step, JAX's XLA (proxy)", "timm, AMP, channels_last, torch.compile"
# As the exported step has them (benchmarks/training.py).
_SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 4e-5, "nesterov": True, "fused": True}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports or runs; returns the exit code."""
    parser = commands.parser("python -m benchmarks.gpu.stablehlo", __doc__, allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    export = actions.add_parser("export", allow_abbrev=False)
    export.add_argument("--networks", type=lambda text: text.split(","), default=_NETWORKS)
    export.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    export.add_argument("--batch_size", type=at_least(1), default=256, help="default 256")
    export.add_argument("--image_size", type=at_least(1), default=224, help="default 224")
    export.add_argument("--output", type=paths.argument, default=Path("runs/stablehlo"))
    run = actions.add_parser("run", allow_abbrev=False)
    run.add_argument("files", type=paths.argument, nargs="+", metavar="FILE")
    run.add_argument("--rounds", type=at_least(1), default=3, help="default 3")
    run.add_argument("--steps", type=at_least(1), default=20, help="of a round (default 20)")
    run.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="timm's")
    run.add_argument("--python", type=paths.argument, default=Path(sys.executable))
    options = parser.parse_args(arguments)
    return commands.run(functools.partial(_export if options.action == "export" else _run, options))


def _export(options: argparse.Namespace) -> None:
    with process.quiet_startup():
        from benchmarks.gpu.stablehlo import export

    sizes = {"batch_size": options.batch_size, "image_size": options.image_size}
    for network in options.networks:
        step = export.export(network, dtype=options.dtype, **sizes)
        path = options.output / f"{network}_{options.dtype}_{options.batch_size}.step"
        with files.write_errors(path, "give another directory with --output"):
            files.make_directory(path.parent)
            step_file.write(path, step)
        write_line(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _run(options: argparse.Namespace) -> None:
    steps = {path: step_file.read(path) for path in options.files}  # all, before minutes pass
    for path, step in steps.items():
        _compare(path.resolve(), step, options)


def _compare(path: Path, step: Step, options: argparse.Namespace) -> None:
    """Starts the candidates one after the other, lets them take turns, and prints the ratios."""
    about = step.about
    images = about["batch_size"] * options.steps
    write_line("{network}, {dtype}, batch {batch_size}, {image_size} px".format(**about))
    running: dict[str, program.ProgramCandidate] = {}
    try:
        for name, make in _makers(path, step, options).items():
            started = time.perf_counter()
            running[name] = make()
            try:
                ready = running[name].run()
            except CandidateFailed as error:
                write_line(f"  {name}: failed: {error}")
                running.pop(name).stop()
                continue
            versions = ", ".join(" ".join(pair) for pair in ready.pop("versions").items())
            seconds = time.perf_counter() - started
            write_line(f"  {name}: {versions}, ready after {seconds:.0f} s")
        if _OURS not in running:
            raise DataError("the exported step did not run: its line above says why")
        calls = {name: candidate.seconds for name, candidate in running.items()}
        rounds.run_rounds(calls, 1)  # not counted
        measured = rounds.run_rounds(calls, options.rounds)
    finally:
        for candidate in running.values():
            candidate.stop()
    speeds = {name: [images / secs for secs in times] for name, times in measured.items()}
    for name, values in speeds.items():
        write_line(f"  {name}: {rounds.spread_text(values, 1)} images/s")
    if len(speeds) == 2:
        ratios = rounds.ratios(speeds[_OURS], speeds[_TIMM])
        write_line(f"  proxy / timm: {rounds.spread_text(ratios, 2)}")


def _makers(
    path: Path, step: Step, options: argparse.Namespace
) -> dict[str, Callable[[], program.ProgramCandidate]]:
    python, where = str(options.python), installation.IMPORTED_FROM
    module = installation.module("benchmarks.gpu.stablehlo.jax_program")
    ours = [python, "-m", module, str(path), str(options.steps)]
    makers = {_OURS: functools.partial(program.ProgramCandidate, ours, where)}
    about = step.about
    if about["network"] in TIMM_NAMES:
        task = timm_steps.Task(
            network=TIMM_NAMES[about["network"]],
            trains=True,
            dtype=about["dtype"],
            batch_size=about["batch_size"],
            image_size=about["image_size"],
            steps=options.steps,
            threads=process.num_cores(),
            is_compiled=True,
            sgd=_SGD,
            device="cuda" if options.device == "gpu" else "cpu",
        )
        command = [python, str(timm_steps.__file__), json.dumps(task._asdict())]
        makers[_TIMM] = functools.partial(program.ProgramCandidate, command)
    return makers


if __name__ == "__main__":
    sys.exit(main())
