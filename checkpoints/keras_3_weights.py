"""Weight files of Keras 3 (.weights.h5) of the networks of keras.applications.

They number layers within each class (`conv2d_3`) and variables within each layer, so that only
Keras' own network can tell which is which: it is built, loads the file, and is read by name.
"""

from __future__ import annotations

import os
from typing import Any

import h5py
import keras

from checkpoints.errors import WeightsError
from checkpoints.h5_weights import Layers
from models import registry

SUFFIX = ".weights.h5"
_OPTIMIZER = "optimizer"


def read(path: str | os.PathLike[str], model: str, num_classes: int) -> Layers:
    """Layer -> variable -> array, in the network's order; layers without variables are left out.

    Raises:
      WeightsError: not such a file, of another network, or `model` is none of keras.applications.
    """
    application = registry.get(model).options.get("application")
    if application is None:
        raise WeightsError(
            f"{os.fspath(path)}: weight files of Keras 3 are read for keras_* models only, not "
            f"{model}"
        )
    create: Any = getattr(keras.applications, str(application))
    network = create(weights=None, classes=num_classes)
    try:
        _check_count(path, len(network.weights))
        network.load_weights(path)
    except Exception as error:  # HDF5, h5py and Keras raise almost any, by what is damaged
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{os.fspath(path)} does not fit {model}: {reason}") from error
    return {
        layer.name: {weight.name: weight.numpy() for weight in layer.weights}
        for layer in network.layers
        if layer.weights
    }


def _check_count(path: str | os.PathLike[str], wanted: int) -> None:
    """Keras leaves unread what the network does not have."""
    names: list[str] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: names.append(name) if _is_array(item) else None)
    found = sum(name.split("/")[0] != _OPTIMIZER for name in names)
    if found != wanted:
        raise ValueError(f"it has {found} variables, the network {wanted}")


def _is_array(item: h5py.Group | h5py.Dataset) -> bool:
    return isinstance(item, h5py.Dataset)
