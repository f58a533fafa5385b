"""Trains on digits under random signals, and compares the end with that of an unbroken run.

One run is left alone, and its memory is measured every second. Another gets SIGTERM or SIGKILL
again and again, a few seconds after its first step, so in training, saves and evaluations, and a
part of the times in imports or tracing; the same command is repeated until it ends by itself. Both
must end with equal bits in every tensor and with equal bytes of metrics.csv.
"""

from __future__ import annotations

import collections
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from common import commands, installation, process

# Of the time at which a signal comes: that many mean times, at most.
_LONGEST = 3.0
_INTERPRETER_SECS = 0.3  # until the first line of a program runs: a signal just kills Python
_LAST_LINES = 60  # of stderr, printed if a run ends as it should not
_MEBIBYTE = 1 << 20
_SIGNALS = (signal.SIGTERM, signal.SIGKILL)
_STEP = re.compile(r"\d+\timages/sec")


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name) and returns the exit code."""
    parser = commands.parser("python -m benchmarks.survival.soak", __doc__)
    positive = commands.at_least(1)
    parser.add_argument("--num_batches", type=positive, default=20000)
    parser.add_argument("--save_model_steps", type=positive, default=200)
    parser.add_argument("--num_gpus", type=positive, default=2)
    parser.add_argument(
        "--seconds", type=commands.above_zero, default=3.0,
        help="mean time from the first step until a signal (3)",
    )  # fmt: skip
    parser.add_argument(
        "--share_at_start", type=float, default=0.25,
        help="share of the signals that come before the first step (0.25)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of the signals and their times")
    parser.add_argument("--directory", help="where the runs are kept (default: temporary)")
    return commands.run(lambda: _soak(parser.parse_args(argv)))


def _soak(arguments) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(arguments.directory or temporary)
        started = time.monotonic()
        memory = _unbroken(arguments, directory / "whole")
        _report_memory(memory)
        commands.write_line(f"unbroken run: {time.monotonic() - started:.0f} s")
        started = time.monotonic()
        counts = _broken(arguments, directory / "broken")
        seconds, times = (
            time.monotonic() - started,
            ", ".join(f"{count} {what}" for what, count in sorted(counts.items())),
        )
        every = seconds / max(1, counts.total())
        commands.write_line(f"broken run: {seconds:.0f} s, a signal every {every:.1f} s; {times}")
        differing = _differences(directory / "whole", directory / "broken")
    commands.write_line(f"different: {', '.join(differing)}" if differing else "equal at the end")
    return int(bool(differing))


def _start(arguments, train_dir: Path, **streams) -> subprocess.Popen:
    command = [
        *installation.program("train"), "--model=lenet", "--data_name=digits", "--device=cpu",
        f"--num_gpus={arguments.num_gpus}", "--batch_size=16", "--moving_average_decay=0.99",
        f"--num_batches={arguments.num_batches}", "--display_every=100",
        f"--save_model_steps={arguments.save_model_steps}",
        f"--eval_every_steps={5 * arguments.save_model_steps}", f"--train_dir={train_dir}",
    ]  # fmt: skip
    return subprocess.Popen(command, **streams)


def _unbroken(arguments, train_dir: Path) -> list[tuple[float, int]]:
    """Runs without signals; returns (seconds, resident bytes), once a second."""
    memory, started = [], time.monotonic()
    with _start(arguments, train_dir, stdout=subprocess.DEVNULL) as running:
        while running.poll() is None:
            time.sleep(1)
            memory.append((time.monotonic() - started, _resident_bytes(running.pid)))
    if running.returncode:
        raise SystemExit(f"the unbroken run ended with {running.returncode}")
    return [(seconds, size) for seconds, size in memory if size]


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0  # it has just ended
    return pages * os.sysconf("SC_PAGE_SIZE")


def _report_memory(memory: list[tuple[float, int]]) -> None:
    """Fits a line through the second half: in the first, buffers and curves still grow."""
    import numpy as np

    half = memory[len(memory) // 2 :]
    if len(half) < 3:
        return
    seconds, sizes = np.array(half, float).T
    (slope, _), covariance = np.polyfit(seconds, sizes / _MEBIBYTE, 1, cov=True)
    commands.write_line(
        f"memory: {sizes.min() / _MEBIBYTE:.1f} to {sizes.max() / _MEBIBYTE:.1f} MiB in the second "
        f"half, slope {60 * slope:+.3f} +/- {120 * covariance[0, 0] ** 0.5:.3f} MiB a minute"
    )


def _broken(arguments, train_dir: Path) -> collections.Counter[str]:
    """Runs under signals until the end; returns how often each one came, and when."""
    chance, counts = random.Random(arguments.seed), collections.Counter()
    start_secs = 0.0
    log = train_dir.with_name("broken.stderr")
    while True:
        number, at_start = chance.choice(_SIGNALS), chance.random() < arguments.share_at_start
        wait = min(chance.expovariate(1 / arguments.seconds), _LONGEST * arguments.seconds)
        with (
            log.open("w") as stderr,
            _start(
                arguments, train_dir, stdout=subprocess.PIPE, stderr=stderr, text=True
            ) as running,
        ):
            trains, started = threading.Event(), time.monotonic()
            reader = threading.Thread(target=_read, args=(running, trains))
            reader.start()
            if at_start and start_secs:
                wait = chance.uniform(_INTERPRETER_SECS, start_secs)
            else:
                trains.wait()
                start_secs, at_start = time.monotonic() - started, False
            sent = "no signal"
            try:
                code = running.wait(wait)
            except subprocess.TimeoutExpired:
                moment = "before the first step" if at_start else "in training"
                sent = f"{number.name} {moment}"
                running.send_signal(number)
                code = running.wait()
            reader.join()
        if code == 0:
            return counts
        if code not in (75, -signal.SIGKILL):
            sys.stderr.writelines(log.read_text(errors="replace").splitlines(True)[-_LAST_LINES:])
            raise SystemExit(f"a run ended with {code} after {sent} ({wait:.1f} s)")
        counts[sent] += 1


def _read(running: subprocess.Popen, trains: threading.Event) -> None:
    """Reads the lines of a run to their end; sets `trains` at the first step or at the end."""
    assert running.stdout is not None
    for line in running.stdout:
        if _STEP.match(line):
            trains.set()
    trains.set()


def _differences(whole: Path, broken: Path) -> list[str]:
    """Returns what differs: tensors, and metrics.csv."""
    import numpy as np

    with process.quiet_startup():
        from checkpoints import store

    got, expected = store.read(broken), store.read(whole)
    names = sorted(got.keys() | expected.keys())
    differing = [n for n in names if not np.array_equal(got.get(n, ()), expected.get(n, ()))]
    same = (whole / "metrics.csv").read_bytes() == (broken / "metrics.csv").read_bytes()
    return differing if same else [*differing, "metrics.csv"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
