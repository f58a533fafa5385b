"""Converting JPEG class folders to TFRecords: this converter and tf-imagenet's route.

    python -m benchmarks.converter [--num_images=1000] [--kilobytes=110] [--rounds=7]

Both read the same files of about 500x375 pixels (parts of scikit-image's and scikit-learn's
photos) and write shards with the same keys, each in one process. Ours is what
`python -m download_and_convert_imagenet --source=folder --num_processes=1` does, from the listing
of the folders to the manifest. tf-imagenet's is that of its build_imagenet_data.py: TensorFlow
decodes every image, in a session, to learn its size; a tf.train.Example is made and written with
TFRecordWriter.

They run in rounds, and a ratio is taken within a round. Images/s of a core are those of a second of
processor time: while one process waits for the disk (ours waits until a shard is on it,
tf-imagenet's does not), another one uses the core. Images/s of the clock are printed as well.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.photo_set import SIZES, encode_to_size, random_part, source_photos
from benchmarks.rounds import CandidateProcess, ratios, run_rounds, spread
from common import commands

NUM_CLASSES = 10
NUM_SHARDS = 1  # ImageNet's shards have 1,251 images
PROMISED_RATIO = 10.0
_SEED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs both in rounds; prints images/s and their ratios, median and range."""
    parser = commands.parser("python -m benchmarks.converter", __doc__)
    parser.add_argument("--num_images", type=int, default=1000, help="a round (default 1000)")
    parser.add_argument("--kilobytes", type=float, default=110.0, help="of a file (default 110)")
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / "raw"
        num_bytes = write_class_folders(raw, options.num_images, round(options.kilobytes * 1000))
        print(f"{options.num_images} JPEG files of {num_bytes / options.num_images / 1e3:.1f} KB")
        candidates = {
            name: CandidateProcess(make, str(raw), str(Path(scratch) / name))
            for name, make in (("ours", our_converter), ("tf-imagenet", tf_imagenet_route))
        }
        runs = {name: candidate.run for name, candidate in candidates.items()}
        run_rounds(runs, 1)  # fills caches
        seconds = run_rounds(runs, options.rounds)
        for candidate in candidates.values():
            candidate.stop()
    for number, unit in enumerate(("a second of one core", "a second of the clock, one process")):
        _print(
            unit,
            options.num_images,
            {name: [pair[number] for pair in pairs] for name, pairs in seconds.items()},
        )
        if number == 0:
            print(f"promised: {PROMISED_RATIO:.1f}")
    return 0


def _print(unit: str, num_images: int, seconds: Mapping[str, Sequence[float]]) -> None:
    for name, found in seconds.items():
        print(f"{name}: {_describe([num_images / s for s in found], ',.0f')} images in {unit}")
    ours, theirs = seconds.values()
    print(f"ratio: {_describe(ratios(theirs, ours), '.1f')}")


def _describe(values: Sequence[float], form: str) -> str:
    middle, lowest, highest = spread(values)
    return f"{middle:{form}} ({lowest:{form}} to {highest:{form}})"


Conversion = Callable[[], tuple[float, float]]
"""Converts once and returns the seconds of processor time and of the clock."""


def _timed(output: Path, convert_to: Callable[[Path], None]) -> Conversion:
    """Returns conversions with an output directory each."""
    numbers = itertools.count()

    def run() -> tuple[float, float]:
        processor, clock = time.process_time(), time.perf_counter()
        convert_to(output / str(next(numbers)))
        return time.process_time() - processor, time.perf_counter() - clock

    return run


def write_class_folders(directory: Path, num_images: int, num_bytes: int) -> int:
    """Writes DIRECTORY/train/CLASS/*.jpg of about `num_bytes` each; returns the sum of their sizes.

    Raises:
        ImportError: scikit-image or scikit-learn, which provide the photos, is not installed.
    """
    generator = np.random.default_rng(_SEED)
    photos = list(source_photos())
    written = 0
    for number, photo in zip(range(num_images), itertools.cycle(photos), strict=False):
        part = random_part(photo, SIZES[number % len(SIZES)], generator)
        encoded = encode_to_size(part, num_bytes)
        path = directory / "train" / f"class_{number % NUM_CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
        written += len(encoded)
    return written


def our_converter(raw: str, output: str) -> Conversion:
    """Runs a whole conversion, without the start of Python."""
    from download_and_convert_imagenet.__main__ import main as convert

    options = ["--source=folder", f"--raw_dir={raw}", "--validation_fraction=0"]
    options += [f"--train_shards={NUM_SHARDS}", "--num_processes=1"]

    def convert_to(directory: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            code = convert([str(directory), *options])
        if code:
            raise RuntimeError(f"the converter returned {code}")

    return _timed(Path(output), convert_to)


def tf_imagenet_route(raw: str, output: str) -> Conversion:
    """Converts as build_imagenet_data.py does, in today's TensorFlow: a session decodes images."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    with tf.Graph().as_default():
        one_thread = {"intra_op_parallelism_threads": 1, "inter_op_parallelism_threads": 1}
        session = tf.compat.v1.Session(config=tf.compat.v1.ConfigProto(**one_thread))
        data = tf.compat.v1.placeholder(tf.string, [])
        pixels = tf.io.decode_jpeg(data, channels=3)

    def bytes_of(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def integers(values: list[int]) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def floats(values: list[float]) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def example_of(path: Path, label: int) -> tf.train.Example:
        encoded = path.read_bytes()
        height, width, _ = session.run(pixels, feed_dict={data: encoded}).shape
        features = {
            "image/encoded": bytes_of(encoded),
            "image/height": integers([height]),
            "image/width": integers([width]),
            "image/channels": integers([3]),
            "image/colorspace": bytes_of(b"RGB"),
            "image/format": bytes_of(b"JPEG"),
            "image/filename": bytes_of(path.name.encode()),
            "image/class/label": integers([label]),
            "image/class/synset": bytes_of(path.parent.name.encode()),
            "image/class/text": bytes_of(path.parent.name.encode()),
            "image/object/bbox/label": integers([]),
        }
        for side in ("xmin", "ymin", "xmax", "ymax"):
            features[f"image/object/bbox/{side}"] = floats([])
        return tf.train.Example(features=tf.train.Features(feature=features))

    def convert_to(directory: Path) -> None:
        directory.mkdir(parents=True)
        classes = sorted((Path(raw) / "train").iterdir())
        files = [(path, number) for number, c in enumerate(classes, 1) for path in c.iterdir()]
        random.Random(_SEED).shuffle(files)
        for shard in range(NUM_SHARDS):
            name = f"train-{shard:05d}-of-{NUM_SHARDS:05d}"
            with tf.io.TFRecordWriter(str(directory / name)) as writer:
                for path, label in files[shard::NUM_SHARDS]:
                    writer.write(example_of(path, label).SerializeToString())

    return _timed(Path(output), convert_to)


if __name__ == "__main__":
    sys.exit(commands.run(main))
