"""Files that Keras itself wrote, of a keras.applications network."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from checkpoints.readers import keras_h5
from common.errors import DataError
from models.pretrained import keras_weights
from tests.checkpoints.readers import h5_files


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """A small MobileNet, the .h5 of it, and its variables by checkpoint name."""
    random: Any = None
    model = keras.applications.MobileNet(
        input_shape=(32, 32, 3), alpha=0.25, weights=random, classes=7
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.weights])
    path = tmp_path_factory.mktemp("keras") / "mobilenet.h5"
    model.save(path)
    values = {
        f"keras_mobilenet/{layer.name}/{weight.name}": weight.numpy()
        for layer in model.layers
        for weight in layer.weights
    }
    return path, values


def _shapes(values):
    return {name: value.shape for name, value in values.items()}


def test_by_name(mobilenet):
    path, values = mobilenet
    read = keras_weights.assign(keras_h5.read(path), _shapes(values))
    assert read.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(read[name], value)


def test_by_order_where_layers_are_numbered_otherwise(mobilenet, tmp_path):
    path, values = mobilenet
    layers = {f"layer_{i}": v for i, v in enumerate(keras_h5.read(path).values())}
    renamed = h5_files.write(tmp_path / "renamed.h5", layers)
    read = keras_weights.assign(keras_h5.read(renamed), _shapes(values))
    for name, value in values.items():
        np.testing.assert_array_equal(read[name], value)


def test_the_first_layer_of_constants_is_left_out(mobilenet, tmp_path):
    path, values = mobilenet
    constants = {"mean": np.zeros(3), "variance": np.ones(3), "count": np.zeros(())}
    layers = {"normalization": constants} | keras_h5.read(path)
    with_constants = h5_files.write(tmp_path / "constants.h5", layers)
    read = keras_weights.assign(keras_h5.read(with_constants), _shapes(values))
    assert read.keys() == values.keys()


def test_another_network_is_refused(mobilenet):
    path, values = mobilenet
    layers = keras_h5.read(path)
    fewer = dict(list(layers.items())[:-1])
    with pytest.raises(DataError, match=f"{len(fewer)} layers .* network {len(layers)}"):
        keras_weights.assign(fewer, _shapes(values))
    first = next(iter(values))
    with pytest.raises(DataError, match=r"\(9, 9\)"):
        keras_weights.assign(layers, _shapes(values) | {first: (9, 9)})


def test_keras_3_files_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save_weights(tmp_path / "new.weights.h5")
    with pytest.raises(DataError, match="not a weight file of Keras 2"):
        keras_h5.read(tmp_path / "new.weights.h5")
