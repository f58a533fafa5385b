"""Runs an exported file in its own runtime, on real images, and compares it with the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError
from exporters.saved_model import IMAGE_BYTES
from inference.artifacts import open_artifact
from inference.signature import Signature
from preprocessing import registry
from preprocessing.images import photos

NUM_IMAGES = 8
# Photographs that installed packages hold.
_PHOTOGRAPHS = {
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "skimage": (
        "data/chelsea.png",
        "data/coffee.png",
        "data/rocket.jpg",
        "data/astronaut.png",
        "data/motorcycle_left.png",
        "data/hubble_deep_field.jpg",
    ),
}
_NOISE = "images of noise, as there is no photograph here (--check_images=DIR gives some)"


@dataclass(frozen=True)
class CheckImages:
    """What networks and files are compared on.

    Attributes:
        pixels: float32 [N, S, S, 3] in 0..255, as evaluations see them.
        origin: Completes "on 8 ".
        files: The photographs, in the same order; empty if they are not files.
    """

    pixels: np.ndarray
    origin: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The largest difference between the outputs of a file and those of the network."""

    difference: float
    num_same: int
    num_images: int
    origin: str

    def __str__(self) -> str:
        return (
            f"differs from the network by at most {self.difference:.1e}, with the same first class "
            f"on {self.num_same} of {self.num_images} {self.origin}"
        )


def images(signature: Signature, data: DataParams, directory: Path | None) -> CheckImages:
    """Returns up to 8 images: of `directory`, of the run, of installed packages, or noise.

    Raises:
        DataError: `directory` has no image, or one cannot be read.
    """
    if directory is not None:
        return _of_files(signature, photos.find([directory])[:NUM_IMAGES], f"photos of {directory}")
    found = _of_validation(signature, data)
    if found is not None:
        return found
    files = list(_installed_photographs())
    if files:
        return _of_files(signature, files, "photographs")
    size = signature.image_size
    noise = np.random.default_rng(0).uniform(0, 255, [NUM_IMAGES, size, size, 3])
    return CheckImages(noise.astype(np.float32), _NOISE)


def compare(path: Path, expected: np.ndarray, images: CheckImages) -> Comparison:
    """Runs the file at `path` and compares its outputs with those of the network.

    Args:
        expected: Outputs of the network on `images`, float32 [N, K].

    Raises:
        DataError: The file cannot be opened by its runtime.
    """
    outputs = open_artifact(path).outputs(images.pixels)
    return comparison(outputs, expected, images.origin)


def compare_encoded(
    path: Path, expected: np.ndarray, images: CheckImages, signature: Signature
) -> Comparison:
    """Does the same as `compare` with the files of the images and the SavedModel's other signature.

    The images are stored upright first, as the converter and prediction.py do.
    """
    serve = tf.saved_model.load(str(path)).signatures[IMAGE_BYTES]
    batch_size = serve.structured_input_signature[1][IMAGE_BYTES].shape[0] or 1
    # Photographs of any number, in a file for a fixed one.
    encoded = [photos.load(file) for file in images.files]
    rows = []
    for start in range(0, len(encoded), batch_size):
        part = encoded[start : start + batch_size]
        padded = part + part[-1:] * (batch_size - len(part))
        outputs = serve(**{IMAGE_BYTES: tf.constant(padded)})[signature.output]
        rows.append(outputs.numpy()[: len(part)])
    return comparison(np.concatenate(rows), expected, images.origin)


def comparison(outputs: np.ndarray, expected: np.ndarray, origin: str) -> Comparison:
    """Compares outputs [N, K] with those of the network, of the same shape."""
    if outputs.shape != expected.shape:
        raise DataError(f"it returns {list(outputs.shape)} values, not {list(expected.shape)}")
    difference = np.abs(outputs - expected).max()
    same = np.argmax(outputs, axis=1) == np.argmax(expected, axis=1)
    return Comparison(float(difference), int(same.sum()), len(same), origin)


def _of_files(signature: Signature, files: Sequence[Path], origin: str) -> CheckImages:
    view = dataclasses.asdict(signature.view)
    pixels = [photos.photo_view(file, signature.image_size, **view) for file in files]
    return CheckImages(np.stack(pixels), origin, tuple(files))


def _of_validation(signature: Signature, data: DataParams) -> CheckImages | None:
    """Returns validation images of the run; None if they are synthetic, gone or damaged."""
    if registry.data_directory(data.data_dir, data.data_name) is None:
        return None
    try:
        dataset = registry.open_dataset(data, default_subset="validation")
        batches = dataset.eval_batches(batch_size=NUM_IMAGES, image_size=signature.image_size)
        pixels, _, is_real = next(iter(batches))
    except (DataError, StopIteration, tf.errors.OpError):
        return None
    return CheckImages(np.asarray(pixels[is_real], np.float32), "validation images")


def _installed_photographs() -> Iterator[Path]:
    for package, names in _PHOTOGRAPHS.items():
        spec = util.find_spec(package)
        for name in names:
            file = Path(spec.origin).parent / name if spec and spec.origin else None
            if file is not None and file.is_file():
                yield file
