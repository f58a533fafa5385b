"""How long an export takes, and how fast a data set is predicted, next to other ways.

    python -m benchmarks.export [--model=efficientnet_lite0] [--num_images=512] [--rounds=3]

First export.py writes each format, in a process of its own, from start to end with the check of the
file. Then photos of ImageNet's size, one JPEG file each, are predicted: by prediction.py with the
TFLite file, the ONNX file and the published weights; by `predict` of Keras; and one by one, as
ailia-models-measurement does, with the TFLite file. Every way runs once a round, after a round that
is not counted, and ratios are taken within a round. prediction.py opens its network and data in
every round; the baselines do so once, before.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import photo_set
from benchmarks.exported import baselines
from benchmarks.rounds import CandidateProcess, Speed, ratios, run_rounds, spread
from common import commands, installation
from common.errors import RunError

FORMATS = {
    "SavedModel": ["--output_saved_model_dir={to}/saved_model"],
    "TFLite float32": ["--output_tflite={to}/float32.tflite"],
    "TFLite float16": ["--output_tflite={to}/float16.tflite", "--quantize=float16"],
    "TFLite dynamic": ["--output_tflite={to}/dynamic.tflite", "--quantize=dynamic"],
    "TFLite INT8": [
        "--output_tflite={to}/int8.tflite",
        "--quantize=int8",
        "--calibration_data={photos}",
        "--calibration_images=100",
    ],
    "ONNX": ["--output_onnx={to}/float32.onnx"],
}
_FOLDERS = ("n01440764", "n01443537")  # WordNet's ids of two of ImageNet's classes
_NEEDED = ("TFLite float32", "ONNX")
ONE_BY_ONE, KERAS = "one by one", "keras predict"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints both tables; returns the exit code."""
    parser = commands.parser("python -m benchmarks.export", __doc__)
    whole = commands.at_least(1)
    parser.add_argument("--model", default="efficientnet_lite0", help="one with published weights")
    parser.add_argument("--num_images", type=whole, default=512, help="default 512")
    parser.add_argument("--kilobytes", type=commands.above_zero, default=64.0, help="of a photo")
    parser.add_argument("--rounds", type=whole, default=3, help="default 3")
    parser.add_argument(
        "--only_predictions", action="store_true", help="write only the files that predictions need"
    )
    options = parser.parse_args(arguments)
    return commands.run(lambda: _report(options))


def _report(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        photos = directory / "photos"
        write_photos(photos, options.num_images, round(options.kilobytes * 1000))
        names = _NEEDED if options.only_predictions else tuple(FORMATS)
        rounds = 1 if options.only_predictions else options.rounds
        seconds = export_seconds(options.model, names, directory, rounds)
        if not options.only_predictions:
            print("\n".join(export_table(options.model, seconds)), "", sep="\n", flush=True)
        speeds = prediction_speeds(options.model, directory, options.num_images, options.rounds)
        print("\n".join(prediction_table(options.num_images, speeds)))


def write_photos(directory: Path, number: int, num_bytes: int) -> None:
    """Writes `number` JPEG files into two class folders; see `benchmarks.photo_set`."""
    sources = list(photo_set.source_photos())
    for index in range(number):
        random = np.random.default_rng(index)
        size = photo_set.SIZES[index % len(photo_set.SIZES)]
        image = photo_set.random_part(sources[index % len(sources)], size, random)
        path = directory / _FOLDERS[index % 2] / f"photo_{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo_set.encode_to_size(image, num_bytes))


def export_seconds(
    model: str, names: Sequence[str], directory: Path, rounds: int
) -> dict[str, list[float]]:
    """Returns the seconds of each run of export.py, from the start of its process to the end.

    Raises:
        RunError: export.py failed.
    """
    runs = {name: functools.partial(_export, model, FORMATS[name], directory) for name in names}
    return run_rounds(runs, rounds)


def _export(model: str, flags: Sequence[str], directory: Path) -> float:
    places = {"to": directory, "photos": directory / "photos"}
    command = [*installation.program("export"), f"--model={model}", "--pretrained"]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, *(flag.format(**places) for flag in flags)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RunError((done.stderr.strip().splitlines() or ["export.py failed"])[-1])
    return time.perf_counter() - started


def prediction_speeds(
    model: str, directory: Path, num_images: int, rounds: int
) -> dict[str, list[Speed]]:
    """Returns the speeds of every way to predict the photos of `directory`, one a round."""
    photos, tflite = directory / "photos", directory / "float32.tflite"
    ours = {
        "prediction.py, TFLite": [f"--model={tflite}"],
        "prediction.py, ONNX": [f"--model={directory / 'float32.onnx'}"],
        "prediction.py, weights": [f"--model={model}"],
    }
    processes = {
        name: CandidateProcess(
            baselines.make_ours,
            [*flags, f"--data={photos}"],
            num_images,
            directory / name.replace(" ", "_"),
        )
        for name, flags in ours.items()
    }
    processes[KERAS] = CandidateProcess(baselines.make_keras, model, photos, num_images)
    for name, threads in ((ONE_BY_ONE, None), (f"{ONE_BY_ONE}, all cores", _cores())):
        output = directory / name.replace(" ", "_")
        processes[name] = CandidateProcess(
            baselines.make_one_by_one, tflite, threads, photos, num_images, output
        )
    try:
        runs = {name: candidate.run for name, candidate in processes.items()}
        run_rounds(runs, 1)
        return run_rounds(runs, rounds)
    finally:
        for candidate in processes.values():
            candidate.stop()


def _cores() -> int:
    from common import process

    return process.num_cores()


def export_table(model: str, seconds: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yields the lines of a Markdown table."""
    rounds = len(next(iter(seconds.values())))
    yield f"export of {model}, seconds from start to end, {rounds} rounds"
    yield ""
    yield "| format | median | lowest | highest |"
    yield "|---|---|---|---|"
    for name, values in seconds.items():
        yield _row(name, values, 1)


def prediction_table(num_images: int, speeds: Mapping[str, Sequence[Speed]]) -> Iterator[str]:
    """Yields the lines of a Markdown table: images/s, then ratios."""
    rounds = len(next(iter(speeds.values())))
    yield f"predictions of {num_images:,} photos, images/s, {rounds} rounds"
    yield ""
    yield "| way | median | lowest | highest |"
    yield "|---|---|---|---|"
    per_sec = {name: [speed.per_sec for speed in values] for name, values in speeds.items()}
    for name, values in per_sec.items():
        yield _row(name, values, 1)
    baseline_names = [name for name in per_sec if not name.startswith("prediction.py")]
    for name, values in per_sec.items():
        if name in baseline_names:
            continue
        for baseline in baseline_names:
            yield _row(f"{name} / {baseline}", ratios(values, per_sec[baseline]), 2)


def _row(name: str, values: Sequence[float], digits: int) -> str:
    return f"| {name} | " + " | ".join(f"{value:.{digits}f}" for value in spread(values)) + " |"


if __name__ == "__main__":
    sys.exit(commands.run(main))
