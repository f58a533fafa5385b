"""Networks that the tests of exporters share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from checkpoints import bundle
from inference import source
from inference.source import Request, Source
from models import registry
from models.pretrained import importing


@pytest.fixture(scope="session")
def lite0():
    """EfficientNet-Lite0 with its published weights, at its own size."""
    return source.load(Request(model="efficientnet_lite0"))


@pytest.fixture(scope="session")
def random_source(tmp_path_factory):
    """Makes a network with random weights whose outputs are neither equal nor extreme."""

    def make(model: str, image_size: int, num_classes: int = 10):
        return random_network(tmp_path_factory.mktemp(model), model, image_size, num_classes)

    return make


@pytest.fixture(scope="session")
def lenet(random_source):
    """LeNet with random weights, for tests in which numbers matter less than files."""
    return random_source("lenet", 28)


def random_network(directory: Path, model: str, image_size: int, num_classes: int = 10) -> Source:
    """Returns a network of a checkpoint with random weights, which it writes."""
    network = registry.get(model).build(num_classes=num_classes, image_size=image_size)
    random = np.random.default_rng(0)
    tensors = {
        name: random_values(random, name, shape)
        for name, shape in importing.variable_shapes(network).items()
    }
    prefix = directory / "model.ckpt-1"
    bundle.write(prefix, tensors)
    # Only a run's checkpoint may hold a background class.
    (directory / "parameters.json").write_text("{}")
    return source.load(Request(model=model, train_dir=prefix, image_size=image_size))


def random_values(random, name: str, shape) -> np.ndarray:
    """Weights of He et al.'s scale; batch norm near the identity, though of no layer exactly it."""
    if len(shape) > 1:
        is_depthwise = len(shape) == 4 and (shape[-1] == 1 or "depthwise" in name)
        fan_in = np.prod(shape[:2] if is_depthwise else shape[:-1])
        return (random.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32)
    if name.endswith(("moving_variance", "gamma")):
        return random.uniform(0.8, 1.2, shape).astype(np.float32)
    return random.uniform(-0.1, 0.1, shape).astype(np.float32)
