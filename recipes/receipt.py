"""Runs a recipe with several seeds and writes what it reached: `python -m recipes.receipt demo`.

    python -m recipes.receipt recipes/demo.flags --seeds=1,2,3 [--runs=DIR] [flags of train.py]

Each seed is a training and an evaluation by eval.py, in a folder of its own in DIR
(runs/receipts/NAME). NAME.receipt.json, next to the recipe, gets their accuracies with mean and
standard deviation, the commit, the devices and the versions. Runs that are finished are not run
again, and one that was stopped is resumed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark_cnn.reporting import run_record
from common import commands, files, installation, paths
from common.errors import DataError, RunError
from recipes import catalog
from recipes.catalog import MEASURED, Recipe

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_OF_EVALUATION = ("model", "subset", "examples", "weights", "image_size")
_OF_A_RUN = ("top_1", "top_5", "loss", "global_step")
_OF_A_START = ("git", "devices", "cpu", "versions")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is missing and writes the receipt; returns the exit code."""
    parser = commands.parser("python -m recipes.receipt", __doc__, allow_abbrev=False)
    parser.add_argument("recipe", help="its name or its file")
    parser.add_argument("--seeds", type=_seeds, default=(1, 2, 3), help="default: 1,2,3")
    parser.add_argument("--runs", type=paths.argument, metavar="DIR", help="of the trainings")
    options, flags = parser.parse_known_args(arguments)
    return commands.run(lambda: _make(options, flags))


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(seed) for seed in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or len({*seeds}) != len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of different whole numbers")
    return seeds


def _make(options: argparse.Namespace, flags: Sequence[str]) -> None:
    recipe = catalog.read(catalog.path_of(options.recipe))
    catalog.parse([f"--flagfile={recipe.path}", *flags])  # a mistake ends the command here
    runs: Path = options.runs or Path("runs/receipts") / recipe.name
    results = {seed: _result(recipe, runs / f"seed-{seed}", seed, flags) for seed in options.seeds}
    starts = [run_record.last_start(runs / f"seed-{seed}" / "run.json") for seed in options.seeds]
    for name in _OF_A_START:
        if any(start[name] != starts[0][name] for start in starts):
            raise DataError(f"the runs in {runs} differ in their {name}: remove those of another")
    typed = [recipe.name, f"--seeds={','.join(map(str, options.seeds))}", *flags]
    content = {
        "recipe": recipe.name,
        "command": f"python -m recipes.receipt {' '.join(typed)}",
        "flags_sha256": flags_sha256(recipe.path),
        **{name: starts[0][name] for name in _OF_A_START},
        **of_runs(results),
    }
    path = path_of(recipe.path)
    with files.write_errors(path):
        files.write_text(path, json.dumps(content, indent=1) + "\n")
    print(f"{words(content)}\nwritten: {path}")


def _result(recipe: Recipe, train_dir: Path, seed: int, flags: Sequence[str]) -> dict[str, Any]:
    """Returns the eval.json of a seed; trains and evaluates it if that was not done."""
    evaluation = train_dir / "receipt" / "eval.json"
    if not evaluation.exists():
        own = [f"--tf_random_seed={seed}", f"--train_dir={train_dir}"]
        _call("train", [f"--flagfile={recipe.path}", *flags, *own])
        device = f"--device={recipe.params.hardware.device}"
        argv = [f"--train_dir={train_dir}", device, f"--eval_dir={evaluation.parent}"]
        _call("eval", argv)
    return json.loads(evaluation.read_text(encoding="utf-8"))


def _call(program: str, argv: Sequence[str]) -> None:
    code = subprocess.run([*installation.program(program), *argv], check=False).returncode
    if code:
        error = RunError(f"{program}.py failed with exit code {code}, and the error above")
        error.exit_code = code if code > 0 else 128 - code
        raise error


def of_runs(results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the entries of a receipt that the evaluations say, given eval.json by seed."""
    first = next(iter(results.values()))
    spread: dict[str, Any] = {}
    for name in ("top_1", "top_5"):
        values = [result[name] for result in results.values()]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        spread[name] = {"mean": statistics.mean(values), "standard_deviation": deviation}
    runs = [{"seed": seed, **{name: r[name] for name in _OF_A_RUN}} for seed, r in results.items()]
    return {**{name: first[name] for name in _OF_EVALUATION}, **spread, "runs": runs}


def path_of(recipe: Path) -> Path:
    """Returns the file of a recipe's receipt."""
    return recipe.with_suffix(".receipt.json")


def flags_sha256(recipe: Path) -> str:
    """Returns the hash of the flags of a recipe, without its head and other comments."""
    lines = recipe.read_text(encoding="utf-8").splitlines()
    flags = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return hashlib.sha256("\n".join(flags).encode()).hexdigest()


def words(content: Mapping[str, Any]) -> str:
    """Returns what a receipt says, for the field "run here" of the recipe's head."""
    runs, top_1 = content["runs"], content["top_1"]
    each = ", ".join(f"{100 * run['top_1']:.2f}" for run in runs)
    if len(runs) == 1:
        return f"top-1 {each}% of one run, --tf_random_seed={runs[0]['seed']}"
    mean = f"{100 * top_1['mean']:.2f} +- {100 * top_1['standard_deviation']:.2f}%"
    number = _NUMBERS[len(runs)] if len(runs) < len(_NUMBERS) else str(len(runs))
    seeds = ", ".join(str(run["seed"]) for run in runs)
    return f"top-1 {mean} of {number} runs, --tf_random_seed={seeds}: {each}"


def errors(recipe: Recipe) -> list[str]:
    """Returns a line for everything in which a recipe's receipt, if any, does not belong to it."""
    path = path_of(recipe.path)
    if not path.exists():
        return []
    content, where = json.loads(path.read_text(encoding="utf-8")), catalog.shown(path)
    again = f"run {content['command']} again"
    lines = []
    if content["flags_sha256"] != flags_sha256(recipe.path):
        lines.append(f"{where} is of other flags than {catalog.shown(recipe.path)}: {again}")
    if recipe.head[MEASURED] != words(content):
        lines.append(
            f'{catalog.shown(recipe.path)}: its field "{MEASURED}" is not what its receipt says: '
            f"{words(content)}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
