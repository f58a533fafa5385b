"""Lists what a checkpoint holds, tensor by tensor: `python -m checkpoints.inspect PREFIX`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from checkpoints import tensor_roles
from common import commands, paths, process


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv`. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    return commands.run(lambda: _inspect(arguments), debug=arguments.debug, broken_pipe_code=0)


def _inspect(arguments: argparse.Namespace) -> None:
    with process.quiet_startup():
        lines = _one(arguments.prefix, arguments.tensor) if arguments.tensor else _all(arguments)
    for line in lines:
        print(line)


def _all(arguments: argparse.Namespace) -> list[str]:
    """Returns a table of all tensors, then the number of tensors and values of each role."""
    from checkpoints import bundle

    values = bundle.read(_prefix(arguments.prefix))
    rows, counts, sizes = [], Counter(), Counter()
    for name, value in values.items():
        role = tensor_roles.role(name, values)
        counts[role] += 1
        sizes[role] += value.size
        rows.append((name, _shape(value), str(value.dtype), role, _statistics(value)))
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    table = ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in rows]
    totals = [
        f"{counts[role]} {role}{'' if counts[role] == 1 or role == tensor_roles.RUN_STATE else 's'}"
        f" ({sizes[role]:,} values)"
        for role in tensor_roles.ROLES
        if counts[role]
    ]
    return [*table, f"{len(values)} tensors: {', '.join(totals)}"]


def _one(prefix: Path, name: str) -> list[str]:
    """Returns the line of one tensor and its values."""
    import numpy as np

    from checkpoints import bundle

    path = _prefix(prefix)
    value = bundle.read(path, [name])[name]
    role = tensor_roles.role(name, bundle.shapes(path))
    return [
        f"{name}  {_shape(value)}  {value.dtype}  {role}  {_statistics(value)}".rstrip(),
        np.array2string(value, threshold=1000, edgeitems=3, max_line_width=100),
    ]


def _prefix(path: Path) -> Path:
    """Returns the prefix itself, or that of the only checkpoint in a directory."""
    from checkpoints.readers import tf1_archive

    return tf1_archive.only_prefix(path) if path.is_dir() else path


def _shape(value) -> str:
    return "[" + ",".join(map(str, value.shape)) + "]"


def _statistics(value) -> str:
    """Returns mean, deviation and range, and how many values are not finite, if any."""
    import numpy as np

    if value.size == 0 or value.dtype.kind not in "fiub":
        return _statistics(value.astype(np.float32)) if value.dtype.name == "bfloat16" else ""
    if value.size == 1:
        number = value.item()
        return f"value={number:.6g}" if isinstance(number, float) else f"value={number}"
    numbers = value.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    bad = value.size - finite.size
    text = f"{bad} not finite  " if bad else ""
    if finite.size == 0:
        return text.rstrip()
    return text + (
        f"mean={finite.mean():.6g} std={finite.std():.6g} "
        f"min={finite.min():.6g} max={finite.max():.6g}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = commands.OneLineParser(
        prog="python -m checkpoints.inspect",
        description="List the tensors of a TF1 checkpoint: name, shape, type, role (weight, moving "
        "average, slot of an optimizer, constant, run state) and statistics.",
    )
    parser.add_argument(
        "prefix",
        metavar="PREFIX",
        type=paths.argument,
        help="e.g. runs/lite0, or runs/lite0/model.ckpt-1000",
    )
    parser.add_argument("--tensor", metavar="NAME", help="print one tensor with its values")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of errors")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
