"""Reads weight files of the networks of keras.applications: .h5 of Keras 2, .weights.h5 of Keras 3.

Files of Keras 2 name layers and variables; `assign` matches them with a network's variables. Files
of Keras 3 number layers within each class (`conv2d_3`) and variables within each layer, so that
only Keras' own network can map them: `read` builds it, loads the file, and reads it by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import keras
import numpy as np

from checkpoints.readers.keras_h5 import Layers
from common.errors import DataError
from models import registry

SUFFIX = ".weights.h5"
_OPTIMIZER = "optimizer"
# Of keras.layers.Normalization, whose constants our networks have in their own first layer.
_INPUT_NORMALIZATION = frozenset(("mean", "variance", "count"))


def assign(
    layers: Mapping[str, Mapping[str, np.ndarray]], wanted: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """Returns checkpoint name -> array.

    Layers are matched by name if the file has all names of the network. Keras numbers some layers
    as it creates them (`conv2d_94`), differently in every session; then they are matched by order,
    as Keras itself loads those files.

    Args:
        layers: Layer -> variable -> array (`keras_h5.read`).
        wanted: Checkpoint name `<scope>/<layer>/<variable>` -> shape, in the network's order.

    Raises:
        DataError: The file has another number of layers, or a layer has other variables.
    """
    groups: dict[str, list[str]] = {}
    for name in wanted:
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    present = {
        name: variables
        for name, variables in layers.items()
        if set(variables) != _INPUT_NORMALIZATION
    }
    if len(groups) != len(present):
        raise DataError(
            f"has {len(present)} layers with weights, the network {len(groups)}: it belongs to "
            "another network, or has no top layer"
        )
    by_name = [group.partition("/")[2] for group in groups]
    order = by_name if all(layer in present for layer in by_name) else list(present)
    filled: dict[str, np.ndarray] = {}
    for names, layer in zip(groups.values(), order, strict=True):
        filled |= _fill(names, layer, present[layer], wanted)
    return filled


def _fill(
    names: list[str],
    layer: str,
    variables: Mapping[str, np.ndarray],
    wanted: Mapping[str, Sequence[int]],
) -> dict[str, np.ndarray]:
    """Matches variables by name if all agree, else by order (depthwise_kernel became kernel)."""
    by_variable = {name.rpartition("/")[2]: name for name in names}
    if set(by_variable) == set(variables):
        filled = {by_variable[key]: value for key, value in variables.items()}
    else:
        filled = dict(zip(names, variables.values(), strict=False))
    fits = len(names) == len(variables) and all(
        tuple(value.shape) == tuple(wanted[name]) for name, value in filled.items()
    )
    if not fits:
        theirs = ", ".join(f"{key} {value.shape}" for key, value in variables.items())
        ours = ", ".join(f"{name} {tuple(wanted[name])}" for name in names)
        raise DataError(f"layer {layer!r} has {theirs}; the network wants {ours}")
    return filled


def read(path: str | os.PathLike[str], model: str, num_classes: int) -> Layers:
    """Returns layer -> variable -> array, in the network's order, without layers without variables.

    Raises:
        DataError: It is not such a file, it belongs to another network, or `model` is not one of
            keras.applications.
    """
    application = registry.get(model).options.get("application")
    if application is None:
        raise DataError(
            f"{os.fspath(path)}: weight files of Keras 3 are read for keras_* models only, not "
            f"{model}"
        )
    create: Any = getattr(keras.applications, str(application))
    network = create(weights=None, classes=num_classes)
    try:
        _check_count(path, len(network.weights))
        network.load_weights(path)
    except Exception as error:  # HDF5, h5py and Keras raise almost any
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{os.fspath(path)} does not fit {model}: {reason}") from error
    return {
        layer.name: {weight.name: weight.numpy() for weight in layer.weights}
        for layer in network.layers
        if layer.weights
    }


def _check_count(path: str | os.PathLike[str], wanted: int) -> None:
    """Checks the number of variables, as Keras ignores those that the network does not have."""
    names: list[str] = []

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and name.split("/")[0] != _OPTIMIZER:
            names.append(name)

    with h5py.File(path, "r") as file:
        file.visititems(add)
    if len(names) != wanted:
        raise ValueError(f"it has {len(names)} variables, the network {wanted}")
