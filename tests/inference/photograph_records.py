"""The eight photographs as a validation set of ImageNet, and what the reference says of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from download_and_convert_imagenet.records.manifest import Manifest, write_manifest
from download_and_convert_imagenet.records.shard_writer import write_shard
from download_and_convert_imagenet.records.tf_example import LabeledImage, encode_image
from tests.inference import photographs

GOLDEN = Path(__file__).with_name("golden.npz")
# The place of each photograph's label among the reference's answers, best first: five right at
# once, two more among the first five, one not.
RANKS = (0, 0, 0, 0, 0, 1, 3, 7)


def write(directory: Path, model: str) -> dict[str, float]:
    """Write the set; returns the reference's `top_1`, `top_5` and `loss` (cross entropy) on it.

    The images are PNG inside (ImageNet has one too), which keeps the reference's pixels.
    """
    from preprocessing.images import photos

    with np.load(GOLDEN) as golden:
        probabilities = golden[f"{model}/probabilities"].astype(np.float64)
    order = np.argsort(-probabilities, axis=1)
    classes = order[np.arange(len(RANKS)), RANKS]
    examples = []
    for name, number in zip(photographs.PHOTOGRAPHS, classes, strict=True):
        pixels = photos.read(photographs.file(name))
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "PNG")
        height, width, _ = pixels.shape
        image = LabeledImage(encoded.getvalue(), height, width, int(number) + 1, f"{name}.png")
        examples.append(encode_image(image))
    shard = write_shard(directory, "validation", 0, 1, examples)
    names = tuple(f"class {number}" for number in range(1000))
    write_manifest(directory, Manifest("imagenet", names, {"validation": (shard,)}))
    return {
        "top_1": np.mean([rank < 1 for rank in RANKS]),
        "top_5": np.mean([rank < 5 for rank in RANKS]),
        "loss": -np.log(probabilities[np.arange(len(RANKS)), classes]).mean(),
    }
