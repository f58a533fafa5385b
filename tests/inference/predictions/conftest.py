"""A network that answers every image differently, and a small ImageNet in Kaggle's layout."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import prediction
from checkpoints import bundle
from download_and_convert_imagenet.sources.synsets import synsets, validation_labels
from models.pretrained import importing

NUM_IMAGES = 40


def checkpoint(directory: Path, num_classes: int, seed: int = 0) -> Path:
    """A LeNet with random weights, whose answers are far from each other."""
    random = np.random.default_rng(seed)
    shapes = importing.network_shapes("lenet", num_classes)
    tensors = {
        name: random.normal(0, 2 / np.sqrt(np.prod(shape[:-1], initial=1)), shape)
        for name, shape in shapes.items()
    }
    prefix = directory / "model.ckpt-7"
    bundle.write(prefix, {name: value.astype(np.float32) for name, value in tensors.items()})
    return prefix


@pytest.fixture(scope="session")
def lenet(tmp_path_factory) -> Path:
    """With ImageNet's thousand classes."""
    return checkpoint(tmp_path_factory.mktemp("lenet"), 1000)


@functools.cache
def pixels(number: int) -> np.ndarray:
    """Smooth colors in a shape of its own: wide, tall, tiny."""
    random = np.random.default_rng(number)
    height, width = int(random.integers(20, 90)), int(random.integers(20, 90))
    small = Image.fromarray(random.integers(0, 256, [4, 4, 3], np.uint8))
    return np.array(small.resize((width, height)))


@pytest.fixture(scope="session")
def kaggle(tmp_path_factory) -> Path:
    """data/imagenet of seed 002, with the true names and classes of the first images."""
    root = tmp_path_factory.mktemp("kaggle") / "data/imagenet"
    folder = root / "ILSVRC/Data/CLS-LOC/val"
    folder.mkdir(parents=True)
    lines = []
    for number in range(1, NUM_IMAGES + 1):
        stem = f"ILSVRC2012_val_{number:08d}"
        Image.fromarray(pixels(number)).save(folder / f"{stem}.JPEG", quality=95)
        wnid = synsets()[validation_labels()[number - 1] - 1].wnid
        lines.append(f"{stem},{wnid} 85 1 499 272 {wnid} 1 2 3 4 \n")
    text = "".join(["ImageId,PredictionString\n", *lines[::-1]])
    (root / "LOC_val_solution.csv").write_text(text)
    mapping = "".join(f"{synset.wnid} {synset.words}\n" for synset in synsets())
    (root / "LOC_synset_mapping.txt").write_text(mapping)
    return root


@pytest.fixture
def predict(lenet):
    """Runs prediction.py in this process; returns its exit code."""

    def run(*argv, model=lenet):
        return prediction.main([f"--train_dir={model}", "--model=lenet", *map(str, argv)])

    return run
