"""From a folder to training: `python -m benchmarks.own_photos.first_step`.

First, how long `train.py --data_dir=FOLDER --pretrained` takes to its first step, with an empty
cache and with a full one. Then images/s of the training input from the folder, per second of
processor time, next to `keras.utils.image_dataset_from_directory`, torchvision's ImageFolder and
timm's loader on the same photos, at the same size, with a random resized crop and a flip. What it
takes to fill the cache counts: every loader starts with the folder alone and reads it for --epochs.
The candidates run in rounds, each in a process of its own. torchvision and timm need `make
venv-peers`.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.gpu.program import PYTHON as PEERS
from benchmarks.rounds import Speed, ratios, run_rounds, speed_of, spread
from common import commands, installation, process
from common.commands import at_least
from common.errors import DataError

_PROGRAM = Path(__file__).with_name("loaders.py")
_ASKED = 1.5
_NUM_CLASSES = 10
_KILOBYTES = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the command line asks for; returns the exit code."""
    parser = commands.parser("python -m benchmarks.own_photos.first_step", __doc__)
    parser.add_argument("--data_dir", type=Path, help="class folders (default: made for the run)")
    parser.add_argument("--num_images", type=at_least(_NUM_CLASSES), default=1000)
    parser.add_argument("--image_size", type=at_least(16), default=224, help="in pixels")
    parser.add_argument("--batch_size", type=at_least(1), default=32)
    parser.add_argument("--epochs", type=at_least(1), default=3)
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--no_training", action="store_true", help="measure the loaders alone")
    options = parser.parse_args(arguments)
    return commands.run(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = options.data_dir
        if folder is None:
            folder = Path(directory) / "photos"
            write_photos(folder, options.num_images)
        print(f"{folder}: {options.image_size} px, batch {options.batch_size}", flush=True)
        if not options.no_training:
            cache = Path(directory) / "cache"
            for state in ("empty", "full"):
                seconds = seconds_to_first_step(folder, cache, options)
                print(f"seconds to the first step, {state} cache: {seconds:.1f}", flush=True)
        _print(_speeds(folder, options), options)


def write_photos(folder: Path, num_images: int) -> None:
    """Writes JPEG files of about 500x375 pixels and 64 KB in 10 class folders."""
    from benchmarks import photo_set

    photos = list(photo_set.source_photos())
    for number in range(num_images):
        random = np.random.default_rng(number)
        photo = photos[int(random.integers(len(photos)))]
        size = photo_set.SIZES[int(random.integers(len(photo_set.SIZES)))]
        part = photo_set.random_part(photo, size, random)
        path = folder / f"class {number % _NUM_CLASSES}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo_set.encode_to_size(part, _KILOBYTES * 1000))


def seconds_to_first_step(folder: Path, cache: Path, options: argparse.Namespace) -> float:
    """Returns how long train.py takes from its start to the line of its first step.

    Raises:
        DataError: train.py fails.
    """
    command = [
        *installation.program("train"), f"--data_dir={folder}", "--pretrained",
        "--num_batches=1", f"--cache_dir={cache}", f"--image_size={options.image_size}",
        f"--batch_size={options.batch_size}", "--device=cpu",
    ]  # fmt: skip
    started, seconds = time.perf_counter(), None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout or ():
            if line.startswith("1\timages/sec"):
                seconds = time.perf_counter() - started
    if child.returncode or seconds is None:
        raise DataError("train.py has failed: its error is above")
    return seconds


def _speeds(folder: Path, options: argparse.Namespace) -> dict[str, list[Speed]]:
    """Returns the speeds of every loader, one a round, after a round that fills the disk cache."""
    numbers = map(str, (options.image_size, options.batch_size, options.epochs))
    task = [str(folder.resolve()), *numbers]
    own = (sys.executable, "-m", installation.module("benchmarks.own_photos.loaders"))
    commands_of = {"ours": [*own, "ours", *task, "0"], "Keras": [*own, "keras", *task, "0"]}
    commands_of["Keras, cache()"] = [*own, "keras_cached", *task, "0"]
    if PEERS.exists():
        for name in ("torchvision", "timm"):
            for workers in (0, process.num_cores()):
                title = f"{name}, {workers} workers"
                commands_of[title] = [str(PEERS), str(_PROGRAM), name, *task, str(workers)]
    else:
        print("torchvision, timm: not measured, without .venv-peers (make venv-peers)", flush=True)
    candidates = {name: functools.partial(_run, name, argv) for name, argv in commands_of.items()}
    return run_rounds(candidates, options.rounds)


def _run(name: str, argv: list[str]) -> Speed:
    # As train.py, whose entry point sets these.
    environment = {**process.DEFAULTS, **os.environ} if name == "ours" else None
    where = installation.IMPORTED_FROM
    done = subprocess.run(argv, cwd=where, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["without a word"]
        raise DataError(f"{name} failed: {lines[-1]}")
    result = json.loads(done.stdout.splitlines()[-1])
    speed = speed_of(result["images"], result["secs"], result["processor_secs"])
    # At once, so that an interrupted comparison is not lost.
    print(f"{name}: {speed.per_core:.0f} images/s of a core, {speed.per_sec:.0f}/s", flush=True)
    return speed


def _print(speeds: dict[str, list[Speed]], options: argparse.Namespace) -> None:
    print(f"\nimages/s of {options.epochs} epochs, the way from the folder included")
    print(f"{'':26}{'per second of a core':>30}{'per second':>30}")
    print(f"{'':26}" + f"{'median':>10}{'lowest':>10}{'highest':>10}" * 2)
    for name, values in speeds.items():
        cells = [*spread([v.per_core for v in values]), *spread([v.per_sec for v in values])]
        print(f"{name:26}" + "".join(f"{cell:10.0f}" for cell in cells))
    print()
    ours = [value.per_core for value in speeds["ours"]]
    for name, values in speeds.items():
        if name != "ours":
            found = spread(ratios(ours, [value.per_core for value in values]))
            cells = "".join(f"{cell:10.2f}" for cell in found)
            print(f"{f'ours / {name}':26}{cells}   asked {_ASKED}")


if __name__ == "__main__":
    sys.exit(main())
