"""Evaluates many runs, checkpoints or published networks into one CSV file.

    python -m benchmarks.bulk runs/* --data_dir=$IMAGENET --output=results.csv
    python -m benchmarks.bulk 'efficientnet_lite*' --pretrained --data_dir=$IMAGENET
    python -m benchmarks.bulk --list=networks.txt --data_dir=$IMAGENET --tta=flip

A network is the directory of a run, a checkpoint (with --model=NAME), or with --pretrained the name
of a network whose weights are published, or a pattern of such names. A line of --list=FILE is a
network and flags of its own. All flags that are not listed here are those of eval.py, which
evaluates every network in a process of its own; write them as --NAME=VALUE.

A row is written as soon as it is known. The same command continues where it was stopped or killed:
networks that have an accuracy are skipped, those that failed are tried again. When memory ends, a
network is evaluated with half the batch, down to 1. A network that fails is a row with its error,
and the exit code is 1 at the end. OUTPUT.log has what every evaluation printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bulk import attempts, networks, table
from benchmarks.bulk.table import Row
from common import commands, files, paths, process
from common.commands import above_zero, at_least
from common.errors import RunError

BATCH_SIZE = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluates what has no accuracy in the table; returns the exit code."""
    options, flags = _parser().parse_known_args(arguments)
    return commands.run(lambda: _evaluate(options, flags))


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser("python -m benchmarks.bulk", __doc__, allow_abbrev=False)
    add = parser.add_argument
    add("networks", nargs="*", metavar="NETWORK", help="a run, a checkpoint, or a name")
    add("--list", type=paths.argument, metavar="FILE", help="networks, one a line, with flags")
    add("--output", type=paths.argument, default=Path("results.csv"), metavar="FILE")
    add(
        "--batch_size",
        type=at_least(1),
        default=BATCH_SIZE,
        help=f"images per tower, as long as the memory holds them; default: {BATCH_SIZE}",
    )
    add("--memory_gib", type=above_zero, help="most memory of a process; default: no limit")
    return parser


def _evaluate(options: argparse.Namespace, flags: list[str]) -> None:
    entries = networks.entries(options.networks, options.list, flags)
    output: Path = options.output
    with files.write_errors(output, "give another --output"):
        files.make_directory(output.parent)
        lock = files.lock(
            output.with_name(f".{output.name}.lock"),
            busy=f"another evaluation writes to {output}",
            advice="wait for it, or give another --output",
            warn=_say,
        )
        with lock:
            _fill(options, entries)


def _fill(options: argparse.Namespace, entries: list[networks.Entry]) -> None:
    """Evaluates networks and writes the table after each."""
    output: Path = options.output
    rows = {row.key: row for row in table.read(output)}
    failed = []
    for number, entry in enumerate(entries, start=1):
        known = rows.get((entry.source, entry.words))
        if known is None or known.error:
            row = attempts.evaluate(
                entry,
                options.batch_size,
                options.memory_gib or 0,
                output.with_name(f"{output.name}.log"),
                _say,
            )
            # A network that failed before moves to the end, where its new row was made.
            rows.pop(row.key, None)
            rows[row.key] = row
            table.write(output, rows.values())
        else:
            row = known
        _say(f"{number} of {len(entries)}: {_words(row)}{'' if row is not known else ', skipped'}")
        failed += [row.source] if row.error else []
    print(output)
    if failed:
        names = ", ".join(failed)
        raise RunError(f"{len(failed)} of {len(entries)} networks failed: {names}; see {output}")


def _words(row: Row) -> str:
    if row.error:
        return f"{row.source}: {row.error}"
    return f"{row.source}: top-1 {float(row.top_1):.2%} of {int(row.examples):,} images"


def _say(line: str) -> None:
    print(paths.one_line(line), file=sys.stderr, flush=True)


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
