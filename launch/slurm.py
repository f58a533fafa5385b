r"""Train on a Slurm cluster: `python -m launch.slurm --nodes=2 --gpus_per_node=8 -- train.py ...`.

    python -m launch.slurm --nodes=2 --gpus_per_node=8 --time=12:00:00 -- train.py \
      --model=resnet50 --data_dir=/data/imagenet --train_dir=runs/resnet50

It writes an sbatch file and submits it; --dry_run prints the file. Each node runs one worker, which
reads its place in the cluster from Slurm's environment. Five minutes before the time is over, and
when a node is wanted for another job, Slurm sends SIGUSR1: the workers save and exit with 75, and
the job is queued again, to resume. sbatch options beyond these flags: --sbatch='--account=me'.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common import commands, files, paths
from common.errors import RunError, UsageError
from launch import tasks

_TEMPLATE = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
{gpus}{time}{partition}#SBATCH --output={name}-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=USR1@{notice}
#SBATCH --requeue
{extra}
cd {directory} || exit 2
srun --kill-on-bad-exit=0 {command} &
training=$!
# Slurm signals the steps; the shell only has to wait for them.
trap ':' USR1 TERM
while :; do
  wait "$training"
  code=$?
  kill -0 "$training" 2>/dev/null || break
done
# 75: saved and stopped before the time was over. The same job resumes.
if [ "$code" -eq 75 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {max_restarts} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` and returns the exit code."""
    parser = commands.parser("python -m launch.slurm", __doc__)
    add = parser.add_argument
    add(
        "--nodes", type=commands.at_least(1), default=1, metavar="N", help="workers, one a node (1)"
    )
    add("--gpus_per_node", type=commands.at_least(0), default=8, metavar="N",
        help="towers of each worker (8); 0 for nodes without GPUs, with one tower")  # fmt: skip
    add("--name", default="train", help="of the job and its log file (train)")
    add("--time", metavar="LIMIT", help="as sbatch takes it, as 12:00:00 (the cluster's default)")
    add("--partition", metavar="NAME", help="the cluster's default without it")
    add("--max_restarts", type=commands.at_least(0), default=100, metavar="N",
        help="how often the job is queued again after it was stopped (100)")  # fmt: skip
    add("--notice_secs", type=commands.at_least(1), default=300, metavar="SECONDS",
        help="how long before the time is over the workers save and stop (300)")  # fmt: skip
    add("--sbatch", action="append", default=[], metavar="OPTION", help="another line of #SBATCH")
    add("--output", type=paths.argument, metavar="FILE", help="the file (default: NAME.sbatch)")
    add("--dry_run", action="store_true", help="print the file; write and submit nothing")
    add("command", nargs=argparse.REMAINDER, help="after --: train.py and its flags")
    options = parser.parse_args(argv)
    if options.command[:1] == ["--"]:
        del options.command[0]
    return commands.run(lambda: launch(options))


def launch(options: argparse.Namespace) -> int:
    """Writes and submits the file; returns the exit code."""
    text = script(options, Path.cwd())
    if options.dry_run:
        sys.stdout.write(text)
        return 0
    path = options.output or Path(f"{options.name}.sbatch")
    with files.write_errors(path, kind=UsageError):
        files.write_text(path, text)
    try:
        done = subprocess.run(["sbatch", path], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UsageError(f"there is no sbatch here; {path} is written, submit it there") from error
    if done.returncode:
        raise RunError(f"sbatch refuses {path}: {' '.join(done.stderr.split())}")
    commands.write_line(done.stdout.strip())
    return 0


def script(options: argparse.Namespace, directory: Path) -> str:
    """Returns the sbatch file of a job that runs in `directory`.

    Raises:
        UsageError: a flag is not what Slurm takes.
    """
    tasks.check_command(options.command, "--nodes, --gpus_per_node")
    if not re.fullmatch(r"[\w.-]+", options.name):
        raise UsageError(f"--name={options.name} may hold letters, digits, dots and dashes only")
    for option in options.sbatch:
        if not option.startswith("--"):
            raise UsageError(f"--sbatch={option} is no option of sbatch: it begins with --")
    command = [*tasks.program(options.command), f"--num_gpus={max(1, options.gpus_per_node)}"]
    if options.nodes > 1:
        command.append("--variable_update=collective_all_reduce")
    gpus = options.gpus_per_node
    return _TEMPLATE.format(
        name=options.name,
        nodes=options.nodes,
        gpus=f"#SBATCH --gpus-per-node={gpus}\n" if gpus else "",
        time=f"#SBATCH --time={options.time}\n" if options.time else "",
        partition=f"#SBATCH --partition={options.partition}\n" if options.partition else "",
        notice=options.notice_secs,
        extra="".join(f"#SBATCH {option}\n" for option in options.sbatch),
        directory=shlex.quote(str(directory)),
        command=shlex.join(command),
        max_restarts=options.max_restarts,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
