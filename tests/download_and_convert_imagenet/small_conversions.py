"""Small data sets on disk, converted in this process, and what came of it."""

from __future__ import annotations

import tensorflow as tf

from download_and_convert_imagenet.conversion import convert
from download_and_convert_imagenet.records.tf_example import BoundingBox
from download_and_convert_imagenet.sources.image_source import ImageFile, ImageSource, SourceImage
from tests.download_and_convert_imagenet.records.encoded_images import encode, picture

NUM_IMAGES = {"train": 23, "validation": 7}
NUM_SHARDS = {"train": 4, "validation": 2}
CLASSES = ("cat", "dog", "gnu")


class RecordedProgress:
    """A progress display that remembers its lines."""

    def __init__(self):
        self.lines = []
        self.total = self.advanced = (0, 0)

    def log(self, text):
        self.lines.append(text)

    def start(self, num_images, num_bytes):
        self.total = num_images, num_bytes

    def advance(self, num_images, num_bytes):
        self.advanced = self.advanced[0] + num_images, self.advanced[1] + num_bytes


def location(path):
    status = path.stat()
    return ImageFile(str(path), status.st_size, status.st_mtime_ns)


def make_source(directory, splits=("train", "validation")):
    """Images on disk in three classes; every second one has a box."""
    images = {split: [] for split in splits}
    for split in splits:
        for number in range(NUM_IMAGES[split]):
            path = directory / f"{split}_{number}.jpg"
            if not path.exists():
                path.write_bytes(encode(picture(20 + number, 30)))
            label = 1 + number * len(CLASSES) // NUM_IMAGES[split]
            boxes = (BoundingBox(0.0, 0.25, 0.5, 1.0),) * (number % 2)
            name = CLASSES[label - 1]
            images[split].append(SourceImage(path.name, label, name, name, location(path), boxes))
    return ImageSource("pets", CLASSES, images)


def run(source, data_dir, num_shards=None, max_corrupt_images=0):
    progress = RecordedProgress()
    result = convert(
        source,
        data_dir,
        num_shards or NUM_SHARDS,
        num_processes=1,
        max_corrupt_images=max_corrupt_images,
        progress=progress,
    )
    return result, progress


def num_kept(progress):
    """Returns how many shards a conversion kept, by its messages."""
    lines = [line for line in progress.lines if line.endswith("finished already and kept")]
    return int(lines[0].partition(" of ")[0]) if lines else 0


def identities(data_dir):
    """What changes whenever a shard is written."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in data_dir.glob("*-of-*")
    }


def read_examples(path):
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [tf.train.Example.FromString(record).features.feature for record in records]
