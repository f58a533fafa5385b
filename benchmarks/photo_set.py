"""TFRecords of real photos of ImageNet's size, for benchmarks that need no download.

    python -m benchmarks.photo_set DIR [--num_images=2048] [--kilobytes=64]

The photos come with scikit-image and scikit-learn. Every image is a random part of one of them,
mirrored or not, resized to about 500x375 (the usual size of ImageNet's files) and written as JPEG
with the quality that brings it to --kilobytes: the time to decode a JPEG depends on its pixels and
its bytes, not on what it shows. Labels are random, 1 to 1000. Equal arguments give equal files.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common import commands
from download_and_convert_imagenet.records.manifest import Manifest, Shard, write_manifest
from download_and_convert_imagenet.records.shard_writer import shard_ranges, write_shard
from download_and_convert_imagenet.records.tf_example import LabeledImage, encode_image

# (width, height): three quarters of ImageNet's images are landscape, most have a side of 500.
SIZES = ((500, 375), (500, 375), (500, 333), (375, 500))
NUM_CLASSES = 1000
SPLITS = ("train", "validation")
_SMALLEST_PART = 0.5  # of the largest part; smaller ones would be enlarged to a blur
_QUALITIES = (50, 98)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the set that the command line asks for; returns the exit code."""
    parser = commands.parser("python -m benchmarks.photo_set", __doc__, allow_abbrev=False)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--num_images", type=int, default=2048, help="training images")
    parser.add_argument("--num_validation", type=int, default=256, help="validation images")
    parser.add_argument("--kilobytes", type=float, default=64.0, help="mean size of a JPEG file")
    parser.add_argument("--num_shards", type=int, default=8, help="of each split")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    manifest = write_photo_set(
        options.directory,
        {"train": options.num_images, "validation": options.num_validation},
        num_bytes=round(options.kilobytes * 1000),
        num_shards=options.num_shards,
        seed=options.seed,
    )
    for split, shards in manifest.splits.items():
        num_bytes = sum(shard.num_bytes for shard in shards)
        count = manifest.num_examples(split)
        print(f"{split}: {count} images, {num_bytes / max(count, 1) / 1000:.1f} KB each")
    return 0


def write_photo_set(
    directory: Path, num_images: dict[str, int], *, num_bytes: int, num_shards: int, seed: int
) -> Manifest:
    """Writes `num_images` of each split, JPEG files of about `num_bytes`, and the manifest.

    Raises:
        ImportError: scikit-image or scikit-learn, which provide the photos, is not installed.
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    photos = list(source_photos())
    splits: dict[str, tuple[Shard, ...]] = {}
    for split, count in num_images.items():
        shards = []
        for index, numbers in enumerate(shard_ranges(count, num_shards)):
            examples = (
                _example(photos, split, number, num_bytes=num_bytes, seed=seed)
                for number in numbers
            )
            shards.append(write_shard(directory, split, index, num_shards, examples))
        splits[split] = tuple(shards)
    names = tuple(f"class {number}" for number in range(1, NUM_CLASSES + 1))
    # Named imagenet, because the benchmarks measure its views and its number of classes.
    manifest = Manifest("imagenet", names, splits)
    write_manifest(directory, manifest)
    return manifest


def source_photos() -> Iterator[Image.Image]:
    """Yields color photos that are installed with the libraries, 8-bit RGB."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        yield Image.fromarray(getattr(skimage.data, name)())
    yield from map(Image.fromarray, skimage.data.stereo_motorcycle()[:2])
    yield from map(Image.fromarray, load_sample_images().images)


def _example(
    photos: Sequence[Image.Image], split: str, number: int, *, num_bytes: int, seed: int
) -> bytes:
    random = np.random.default_rng((seed, SPLITS.index(split), number))
    photo = photos[int(random.integers(len(photos)))]
    image = random_part(photo, SIZES[int(random.integers(len(SIZES)))], random)
    if random.integers(2):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return encode_image(
        LabeledImage(
            encoded=encode_to_size(image, num_bytes),
            height=image.height,
            width=image.width,
            label=int(random.integers(1, NUM_CLASSES + 1)),
            filename=f"{split}_{number:06d}.JPEG",
        )
    )


def random_part(
    photo: Image.Image, size: tuple[int, int], random: np.random.Generator
) -> Image.Image:
    """Cuts out a random part of a photo and resizes it to `size` (width, height)."""
    width, height = size
    largest = min(photo.width / width, photo.height / height)
    scale = largest * random.uniform(_SMALLEST_PART, 1.0)
    x = random.uniform(0, photo.width - width * scale)
    y = random.uniform(0, photo.height - height * scale)
    box = (x, y, x + width * scale, y + height * scale)
    return photo.resize(size, Image.Resampling.BICUBIC, box=box)


def encode_to_size(image: Image.Image, num_bytes: int) -> bytes:
    """Returns the largest JPEG (4:2:0, quality 50 to 98) up to `num_bytes`, else the smallest."""
    low, high = _QUALITIES
    best = _encode(image, low)
    while low < high:
        middle = (low + high + 1) // 2
        encoded = _encode(image, middle)
        if len(encoded) <= num_bytes:
            low, best = middle, encoded
        else:
            high = middle - 1
    return best


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(commands.run(main))
