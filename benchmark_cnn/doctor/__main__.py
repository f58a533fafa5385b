"""Examines this machine for training: what is there, what is wrong, and what to do about it.

Without a GPU it says so, and training runs on the CPU. The exit code is 1 if something is missing
that training needs, else 0.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from common import commands, process

if __name__ == "__main__":
    process.restart_with_defaults()

from benchmark_cnn.doctor import cluster, gpus, machine
from benchmark_cnn.doctor.finding import MISSING, OK, Finding
from benchmark_cnn.params.values import parse_hosts

_MARKS = {OK: "  ", MISSING: "!!"}


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name) and returns the exit code."""
    parser = commands.parser("python -m benchmark_cnn.doctor", __doc__)
    parser.add_argument("--train_dir", default=".", help="the disk to measure (default: here)")
    parser.add_argument(
        "--num_gpus", type=commands.at_least(1), help="towers of the all-reduce (default: all GPUs)"
    )
    parser.add_argument(
        "--worker_hosts", default="", help="workers to reach, HOST:PORT,..., as of train.py"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    try:
        hosts = parse_hosts(arguments.worker_hosts) if arguments.worker_hosts else ()
    except ValueError as error:
        parser.error(f"--worker_hosts: {error}")
    return commands.run(lambda: _examine(arguments, tuple(hosts)))


def _examine(arguments, hosts: Sequence[str]) -> int:
    findings = [
        *machine.software(),
        *gpus.examine(),
        *machine.resources(arguments.train_dir),
        *gpus.all_reduce(arguments.num_gpus),
        *cluster.reach(hosts),
    ]
    problems = [finding for finding in findings if finding.status != OK]
    lacks = any(finding.status == MISSING for finding in findings)
    if arguments.json:
        table = [finding._asdict() for finding in findings]
        commands.write_line(json.dumps({"can_train": not lacks, "findings": table}, indent=1))
        return int(lacks)
    for finding in findings:
        commands.write_line(_line(finding))
    commands.write_line("")
    for finding in problems:
        commands.write_line(f"{finding.name}: {finding.advice}")
    if not problems:
        commands.write_line("Nothing is wrong")
    return int(lacks)


def _line(finding: Finding) -> str:
    return f"{_MARKS.get(finding.status, '! ')} {finding.name:<17} {finding.value}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
