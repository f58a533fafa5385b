"""Converting JPEG class folders to TFRecords: this converter beside the ancestors' route.

    python -m benchmarks.converter [--num_images=1000] [--kilobytes=110] [--rounds=7]

Both sides read the same files of about 500x375 pixels (parts of scikit-image's and scikit-learn's
photos) and write shards with the same keys, each in one process. Ours is what
`python -m download_and_convert_imagenet --source=folder --num_processes=1` does, from the listing
of the folders to the manifest. The ancestors' is that of their build_imagenet_data.py: TensorFlow
decodes every image, in a session, to learn its size; a tf.train.Example is made and written with
TFRecordWriter.

They run in turn, and a ratio is taken within a round. Images/s of a core are those of a second of
processor time: while one process waits for the disk (ours waits until a shard is on it, the
ancestors' does not), another one uses the core. Images/s of the clock are printed as well.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.photo_set import SIZES, encode_to_size, source_photos
from benchmarks.turns import Side, seconds_in_turn

NUM_CLASSES = 10
NUM_SHARDS = 1  # ImageNet's shards have 1,251 images
PROMISED_RATIO = 10.0
_SEED = 1
_SMALLEST_PART = 0.5  # of each side of a photo; smaller parts would be enlarged to a blur


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both sides in turn; print images/s and their ratios, median and range."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--num_images", type=int, default=1000, help="a turn (default 1000)")
    parser.add_argument("--kilobytes", type=float, default=110.0, help="of a file (default 110)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side (default 7)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / "raw"
        num_bytes = write_class_folders(raw, options.num_images, round(options.kilobytes * 1000))
        print(f"{options.num_images} JPEG files of {num_bytes / options.num_images / 1e3:.1f} KB")
        outputs = {"ours": Path(scratch) / "ours", "ancestors": Path(scratch) / "ancestors"}
        sides = {
            name: Side(make, str(raw), str(outputs[name]))
            for name, make in (("ours", our_converter), ("ancestors", ancestors_route))
        }
        for side in sides.values():
            side.take_turn()
        clock_secs = seconds_in_turn(sides, options.rounds)
        for side in sides.values():
            side.stop()
        processor_secs = {
            name: [float(line) for line in _record_of(path).read_text().split()][1:]
            for name, path in outputs.items()
        }
    _print("a second of one core", options.num_images, processor_secs)
    print(f"promised: {PROMISED_RATIO:.1f}")
    _print("a second of the clock, one process", options.num_images, clock_secs)
    return 0


def _print(unit: str, num_images: int, seconds: Mapping[str, Sequence[float]]) -> None:
    for name, found in seconds.items():
        print(f"{name}: {_describe([num_images / s for s in found], ',.0f')} images in {unit}")
    ratios = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
    print(f"ratio: {_describe(ratios, '.1f')}")


def _describe(values: Sequence[float], form: str) -> str:
    middle = statistics.median(values)
    return f"{middle:{form}} ({min(values):{form}} to {max(values):{form}})"


def _record_of(output: Path) -> Path:
    return output.with_suffix(".seconds")


def _turns(output: Path, convert_to: Callable[[Path], None]) -> Callable[[], None]:
    """Turns with an output directory each, whose processor time is noted in a file."""
    numbers = itertools.count()

    def turn() -> None:
        started = time.process_time()
        convert_to(output / str(next(numbers)))
        with _record_of(output).open("a") as record:
            print(time.process_time() - started, file=record)

    return turn


def write_class_folders(directory: Path, num_images: int, num_bytes: int) -> int:
    """Write DIRECTORY/train/CLASS/*.jpg of about `num_bytes` each; returns the sum of their sizes.

    Raises:
        ImportError: scikit-image or scikit-learn, which carry the photos, is not installed.
    """
    draw = np.random.default_rng(_SEED).uniform
    photos = list(source_photos())
    written = 0
    for number, photo in zip(range(num_images), itertools.cycle(photos), strict=False):
        width, height = SIZES[number % len(SIZES)]
        scale = min(photo.width / width, photo.height / height)
        scale *= draw(_SMALLEST_PART, 1.0)
        x = draw(0, photo.width - width * scale)
        y = draw(0, photo.height - height * scale)
        box = (x, y, x + width * scale, y + height * scale)
        encoded = encode_to_size(
            photo.resize((width, height), Image.Resampling.BICUBIC, box=box), num_bytes
        )
        path = directory / "train" / f"class_{number % NUM_CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
        written += len(encoded)
    return written


def our_converter(raw: str, output: str) -> Callable[[], object]:
    """A whole conversion a turn, without the start of Python."""
    from download_and_convert_imagenet.__main__ import main as convert

    options = ["--source=folder", f"--raw_dir={raw}", "--validation_fraction=0"]
    options += [f"--train_shards={NUM_SHARDS}", "--num_processes=1"]

    def convert_to(directory: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            code = convert([str(directory), *options])
        if code:
            raise RuntimeError(f"the converter returned {code}")

    return _turns(Path(output), convert_to)


def ancestors_route(raw: str, output: str) -> Callable[[], object]:
    """The route of build_imagenet_data.py in today's TensorFlow: a session decodes every image."""
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

    return _turns(Path(output), convert_to)


if __name__ == "__main__":
    sys.exit(main())
