"""Real shards for the tests, written by TensorFlow's own writer and encoders."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmark_cnn.interfaces import Dataset
from benchmark_cnn.params.data_params import DataParams
from common.files import sha256_of
from download_and_convert_imagenet.records.manifest import Manifest, Shard, write_manifest
from preprocessing.records.tfrecord import walk_records
from preprocessing.registry import open_dataset


def example(encoded: bytes, label: int, boxes: Sequence[Sequence[float]] = ()) -> bytes:
    """A serialized tf.train.Example; boxes are (ymin, xmin, ymax, xmax)."""
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    for number, side in enumerate(("ymin", "xmin", "ymax", "xmax")):
        values = [box[number] for box in boxes]
        features[f"image/object/bbox/{side}"] = tf.train.Feature(
            float_list=tf.train.FloatList(value=values)
        )
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_split(
    directory: Path, split: str, examples: Sequence[bytes], num_shards: int
) -> list[Path]:
    """Write examples to shards, contiguous blocks of nearly equal size."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for shard, block in enumerate(np.array_split(np.arange(len(examples)), num_shards)):
        path = directory / f"{split}-{shard:05d}-of-{num_shards:05d}"
        with tf.io.TFRecordWriter(os.fsencode(path)) as writer:
            for number in block:
                writer.write(examples[number])
        paths.append(path)
    return paths


def encode(pixels: np.ndarray, file_format: str = "JPEG", mode: str = "RGB", **options) -> bytes:
    """Encode uint8 [height, width, 3] pixels with Pillow, after a conversion to `mode`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, file_format, **options)
    return buffer.getvalue()


def open_imagenet(directory: Path, **flags) -> Dataset:
    """Opens the shards of a directory as ImageNet."""
    return open_dataset(DataParams(data_dir=str(directory), data_name="imagenet", **flags))


def offset_of(path: Path, number: int) -> int:
    """Returns the offset in bytes of record `number` of a file."""
    return next(itertools.islice(walk_records(path), number, None)).offset


def flip_bit(path: Path, offset: int) -> None:
    """Flips one bit of the byte at `offset`."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def damaged_within(png: bytes) -> bytes:
    """Breaks a checksum within a PNG; both of its ends stay right."""
    return png[:-20] + bytes([png[-20] ^ 1]) + png[-19:]


def write_listed(directory: Path, examples_per_shard: int) -> None:
    """Writes an ImageNet manifest of the shards in a directory, with their SHA-256."""
    shards = {
        split: tuple(
            Shard(path.name, examples_per_shard, path.stat().st_size, sha256_of(path))
            for path in sorted(directory.glob(f"{split}-*"))
        )
        for split in ("train", "validation")
    }
    listed = {split: files for split, files in shards.items() if files}
    write_manifest(directory, Manifest("imagenet", ("x",) * 1000, listed))


def numbered_image(number: int, height: int = 8, width: int = 8) -> bytes:
    """A PNG of one color that carries a number, which no crop, flip or resize can change."""
    color = np.array([number // 256, number % 256, 77], np.uint8)
    return encode(np.broadcast_to(color, (height, width, 3)), "PNG")


def numbers_of(images: np.ndarray) -> list[int]:
    """The numbers of a batch [batch, size, size, 3] of numbered images."""
    values = np.asarray(images).astype(int)
    assert np.array_equal(values, np.broadcast_to(values[:, :1, :1], values.shape))
    return (values[:, 0, 0, 0] * 256 + values[:, 0, 0, 1]).tolist()


def write_numbered_split(
    directory: Path, split: str, num_examples: int, num_shards: int
) -> list[Path]:
    """Examples 0, 1, 2, ... in order; example n has label 1 + n % 1000."""
    examples = [example(numbered_image(n), 1 + n % 1000) for n in range(num_examples)]
    return write_split(directory, split, examples, num_shards)


def photographs(num_images: int, seed: int = 0) -> list[bytes]:
    """Smooth random JPEGs of assorted shapes, wide, tall and square."""
    random = np.random.default_rng(seed)
    shapes = [(48, 64), (64, 48), (56, 56), (40, 90)]
    encoded = []
    for number in range(num_images):
        height, width = shapes[number % len(shapes)]
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        encoded.append(encode(pixels, quality=90))
    return encoded


def directory_whose_name_is_no_text(parent: Path) -> Path:
    """A new directory with a byte in its name that is no UTF-8; the test is skipped without."""
    directory = parent / os.fsdecode(b"caf\xe9")
    try:
        directory.mkdir()
    except OSError:
        pytest.skip("such a name is not possible here")
    return directory
