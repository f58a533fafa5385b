"""Weight files that Keras wrote of its own networks, through `python -m models.pretrained`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from common.errors import DataError
from inference.classifier import Classifier
from models import registry
from models.pretrained import __main__, ensure, importing

IMAGE_SIZES = {
    "keras_mobilenet": 64,
    "keras_resnet50": 64,
    "keras_resnet50v2": 64,
    "keras_densenet121": 64,
    "keras_mobilenetv3small": 64,
    "keras_efficientnetb0": 64,
    "keras_efficientnetv2b0": 64,
    "keras_convnexttiny": 64,
    "keras_nasnetmobile": 64,
    "keras_xception": 96,
    "keras_inceptionv3": 96,
    "keras_vgg16": 224,
}
WHOLE_MODEL, KERAS_3 = "model.h5", "model.weights.h5"
QUICK = [("keras_mobilenet", KERAS_3)]


def original(name: str, image_size: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Keras' own network with random weights, images, and its probabilities of them."""
    create: Any = getattr(keras.applications, str(registry.get(name).options["application"]))
    model = create(weights=None, input_shape=(image_size, image_size, 3))
    generator = np.random.default_rng(2)
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Normalization):
            layer.set_weights([random_like(weight, generator) for weight in layer.weights])
    # Patches of color: noise would look the same to a network wherever it pools.
    patches = generator.integers(0, 256, (2, 4, 4, 3), np.uint8)
    rows = np.arange(image_size) * 4 // image_size
    images = patches[:, rows][:, :, rows].astype(np.float32)
    pixels = sys.modules[create.__module__].preprocess_input(images.copy())
    return model, images, np.asarray(model(pixels, training=False))


def random_like(weight: Any, generator: np.random.Generator) -> np.ndarray:
    """Values that neither die out nor explode, and no two alike: statistics too."""
    shape = weight.shape
    if "kernel" in weight.name:
        fan_in = np.prod(shape[:2] if "depthwise" in weight.name else shape[:-1])
        return generator.normal(0.0, np.sqrt(2.0 / fan_in), shape)
    if weight.name in ("gamma", "moving_variance"):
        return generator.uniform(0.5, 1.5, shape)
    return generator.normal(0.0, 0.1, shape)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        pytest.param(name, file, marks=[] if (name, file) in QUICK else [pytest.mark.slow])
        for name in IMAGE_SIZES
        for file in (WHOLE_MODEL, KERAS_3)
    ],
)
def test_probabilities_are_those_of_keras(name, file, tmp_path, capsys):
    image_size = IMAGE_SIZES[name]
    model, images, wanted = original(name, image_size)
    (model.save_weights if file == KERAS_3 else model.save)(tmp_path / file)
    argv = [name, f"--from={tmp_path / file}", f"--directory={tmp_path}"]
    assert __main__.main(argv) == 0, capsys.readouterr().err
    prefix = ensure.prefix(name, tmp_path)
    found = Classifier(name, prefix, image_size=image_size).probabilities(images)
    assert wanted.max() > 2 * wanted.mean()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * wanted.max())


def test_another_networks_file_of_keras_3_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    path = Path(tmp_path) / "small.weights.h5"
    model.save_weights(path)
    with pytest.raises(DataError, match="it has 2 variables, the network 137"):
        importing.read(path, "keras_mobilenet")
    with pytest.raises(DataError, match=r"for keras_\* models only, not lenet"):
        importing.read(path, "lenet", num_classes=10)
