"""Eight photographs that installed packages hold, and the pixels that a network sees of them."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np

# Of scikit-image and of scikit-learn, under the name by which golden.npz knows them.
PHOTOGRAPHS = {
    "cat": "skimage/data/chelsea.png",
    "coffee": "skimage/data/coffee.png",
    "rocket": "skimage/data/rocket.jpg",
    "flower": "sklearn/datasets/images/flower.jpg",
    "china": "sklearn/datasets/images/china.jpg",
    "astronaut": "skimage/data/astronaut.png",
    "motorcycle": "skimage/data/motorcycle_left.png",
    "hubble": "skimage/data/hubble_deep_field.jpg",
}
IMAGE_SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


def file(name: str) -> Path:
    """Where a photograph is; ModuleNotFoundError if its package is not installed."""
    package, _, path = PHOTOGRAPHS[name].partition("/")
    spec = util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    return Path(spec.origin).parent / path


def pixels(model: str) -> np.ndarray:
    """What prediction.py shows to the network: float32 [8, S, S, 3] in 0..255."""
    from preprocessing.images.photos import photo_view

    return np.stack(
        [photo_view(file(name), IMAGE_SIZES[model], "efficientnet") for name in PHOTOGRAPHS]
    )
