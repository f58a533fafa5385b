"""Averages the weights of checkpoints: `python -m checkpoints.average RUN`.

    python -m checkpoints.average runs/lite0 --last=5
    python -m checkpoints.average runs/a/model.ckpt-900 runs/b/model.ckpt-900 --output=runs/soup

The mean is uniform. It is of the moving averages where the checkpoints have them (--weights=raw
chooses the others), and covers the statistics of batch norm, which are not measured again. The
result is a directory like best/ of a run: eval.py, prediction.py and export.py read it with
--train_dir, and train.py starts from it with --init_checkpoint.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import commands, files, paths, process
from common.commands import at_least
from common.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

DIRECTORY = "average"
# What says which network and classes a run has; see benchmark_cnn/run_directory.py.
_COMPANIONS = ("parameters.json", "run.json")


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv`. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    return commands.run(lambda: _average(arguments), debug=arguments.debug)


def _average(arguments: argparse.Namespace) -> None:
    process.start_tensorflow()
    from checkpoints import store

    prefixes = _prefixes(arguments.checkpoints, arguments.last)
    output = arguments.output or prefixes[0].parent / DIRECTORY
    if earlier := store.all_checkpoints(output):
        raise UsageError(
            f"{earlier[-1]} is there already: remove {output}, or give another --output"
        )
    _check_classes(prefixes)
    tensors, kind = average(prefixes, arguments.weights)
    step = max(store.global_step(prefix) for prefix in prefixes)
    written = _write(output, step, tensors, prefixes[0].parent)
    names = ", ".join(prefix.name for prefix in prefixes)
    if len({prefix.parent for prefix in prefixes}) > 1:
        names = ", ".join(map(str, prefixes))
    print(f"the mean of the {kind} of {len(prefixes)} checkpoints is {written}: {names}")


def _prefixes(given: Sequence[Path], last: int | None) -> list[Path]:
    """Returns the checkpoints that are named, or those of the one directory, oldest first.

    Raises:
        UsageError: --last goes with a directory alone.
        DataError: There are not two of them.
    """
    from checkpoints import store

    directory = given[0] if len(given) == 1 and given[0].is_dir() else None
    if directory is None:
        prefixes = [Path(store.resolve(path)) for path in given]
        if last is not None:
            raise UsageError(
                "--last has no effect on checkpoints that are named: give one directory"
            )
        files_of = [prefix.parent.resolve() / prefix.name for prefix in prefixes]
        twice = [p for p, file in zip(prefixes, files_of, strict=True) if files_of.count(file) > 1]
        if twice:
            raise UsageError(f"{twice[0]} is named twice")
    else:
        prefixes = [Path(prefix) for prefix in store.all_checkpoints(directory)][-(last or 0) :]
    if len(prefixes) < 2:
        advice = "a run keeps more with --keep_checkpoints" if directory else "name two or more"
        where = directory or given[0]
        raise DataError(f"{where}: there is nothing to average in {len(prefixes)}; {advice}")
    return prefixes


def average(
    prefixes: Sequence[Path], weights: str | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """Returns the mean of each weight and statistic, by variable name, and what it is of.

    It is computed in float64 and rounded once, to the type of the first checkpoint.

    Args:
        weights: "raw", "ema", or None for the moving averages if the first checkpoint has any.

    Raises:
        DataError: A checkpoint cannot be read, is of another network, or holds values that are not
            finite.
    """
    import numpy as np

    from checkpoints import store, tensor_roles

    first = tensor_roles.choose(store.shapes(prefixes[0]), weights, prefixes[0])
    averaged = any(tensor_roles.role(key, ()) == tensor_roles.AVERAGE for key in first.values())
    kind = "ema" if averaged else "raw"
    sums: dict[str, np.ndarray] = {}
    dtypes: dict[str, np.dtype] = {}
    for prefix in prefixes:
        keys = tensor_roles.choose(store.shapes(prefix), kind, prefix)
        values = store.read_variables(prefix, keys)
        if sums:
            _check_same(prefix, values, prefixes[0], sums)
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise DataError(f"{prefix}: {name} holds values that are not finite: leave it out")
            dtypes.setdefault(name, value.dtype)
            sums[name] = sums.get(name, np.zeros(value.shape)) + value.astype(np.float64)
    means = {name: (total / len(prefixes)).astype(dtypes[name]) for name, total in sums.items()}
    return means, "moving averages" if averaged else "raw weights"


def _check_same(
    prefix: Path, values: dict[str, np.ndarray], first: Path, sums: dict[str, np.ndarray]
) -> None:
    """Raises DataError unless two checkpoints have the same weights in the same shapes."""
    only = sorted(values.keys() ^ sums.keys())
    if only:
        holder, other = (prefix, first) if only[0] in values else (first, prefix)
        raise DataError(
            f"{len(only)} weights are not in both, such as {only[0]}, which {holder} has and "
            f"{other} has not: average checkpoints of one network"
        )
    for name, value in values.items():
        if value.shape != sums[name].shape:
            theirs, ours = ("x".join(map(str, v.shape)) for v in (value, sums[name]))
            raise DataError(
                f"{name} is {theirs} in {prefix} and {ours} in {first}: average checkpoints of one "
                "network with the same classes"
            )


def _check_classes(prefixes: Sequence[Path]) -> None:
    """Raises DataError where runs say that an output means different classes."""
    known = {}
    for prefix in prefixes:
        try:
            record = json.loads((prefix.parent / "run.json").read_text(encoding="utf-8"))
            names = record["class_names"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not a run, or an earlier version's
        if names:
            known[prefix] = names
    for prefix, names in known.items():
        first = next(iter(known))
        if names != known[first]:
            raise DataError(
                f"{prefix} was trained on other classes than {first}, or in another order"
            )


def _write(output: Path, step: int, tensors: dict[str, np.ndarray], run: Path) -> Path:
    """Writes the checkpoint and what its readers need to know of the run: all of it or nothing."""
    import numpy as np

    from checkpoints import bundle, checksums, commit, store

    named = {store.GLOBAL_STEP: np.asarray(step, np.int64), **tensors}
    prefix = Path(store.prefix_of(output, step))
    with files.write_errors(output, "give another --output"):
        files.make_directory(output)
    with commit.staged(output, prefix.name) as folder:
        bundle.write(folder / prefix.name, named)
        bundle.check(folder / prefix.name, named)
        checksums.write(folder / prefix.name, step)
        store.write_state(folder, [prefix.name])
        for companion in _COMPANIONS:
            if (run / companion).exists():
                shutil.copyfile(run / companion, folder / companion)
    return prefix


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser("python -m checkpoints.average", __doc__)
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="CHECKPOINT",
        type=paths.argument,
        help="a run, all of whose checkpoints are averaged, or two checkpoints or more",
    )
    parser.add_argument(
        "--last", type=at_least(2), metavar="N", help="of a run, the newest N alone"
    )
    parser.add_argument(
        "--weights",
        choices=("ema", "raw"),
        help="moving averages (the default if the first checkpoint has them) or raw weights",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=paths.argument,
        help=f"default: {DIRECTORY}/ next to the first checkpoint",
    )
    parser.add_argument("--debug", action="store_true", help="print tracebacks of errors")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
