"""Which variable of a network each array of a keras.applications weight file fills.

By the names of the layers where the file has all of the network's. Layers that Keras numbered when
they were made (`conv2d_94`) are called differently in every session: then by order, as Keras
itself loads those files.

Weight files of Keras 3 (.weights.h5) of the networks of keras.applications.

They number layers within each class (`conv2d_3`) and variables within each layer, so that only
Keras' own network can tell which is which: it is built, loads the file, and is read by name.
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

# Of keras.layers.Normalization, whose constants our networks have in their own first layer.
_INPUT_NORMALIZATION = frozenset(("mean", "variance", "count"))


def assign(
    layers: Mapping[str, Mapping[str, np.ndarray]], wanted: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """Checkpoint name -> array.

    Args:
      layers: layer -> variable -> array (`h5_weights.read`).
      wanted: checkpoint name `<scope>/<layer>/<variable>` -> shape, in the network's order.

    Raises:
      DataError: the file has another number of layers, or a layer other variables.
    """
    groups: dict[str, list[str]] = {}
    for name in wanted:
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    present = {
        name: variables
        for name, variables in layers.items()
        if set(variables) != _INPUT_NORMALIZATION
    }
    pairs = _by_name(groups, present) or _by_order(groups, present)
    filled: dict[str, np.ndarray] = {}
    for group, layer in pairs:
        filled |= _fill(groups[group], layer, present[layer], wanted)
    return filled


def _by_name(groups: Mapping[str, list[str]], layers: Mapping) -> list[tuple[str, str]] | None:
    pairs = [(group, group.partition("/")[2]) for group in groups]
    by_name = all(layer in layers for _, layer in pairs) and len(pairs) == len(layers)
    return pairs if by_name else None


def _by_order(groups: Mapping[str, list[str]], layers: Mapping) -> list[tuple[str, str]]:
    if len(groups) != len(layers):
        raise DataError(
            f"has {len(layers)} layers with weights, the network {len(groups)}: it is another "
            "network's, or without the top layer"
        )
    return list(zip(groups, layers, strict=True))


def _fill(
    names: list[str],
    layer: str,
    variables: Mapping[str, np.ndarray],
    wanted: Mapping[str, Sequence[int]],
) -> dict[str, np.ndarray]:
    """By the variables' names where they agree; else by order (depthwise_kernel became kernel)."""
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


SUFFIX = ".weights.h5"
_OPTIMIZER = "optimizer"


def read(path: str | os.PathLike[str], model: str, num_classes: int) -> Layers:
    """Layer -> variable -> array, in the network's order; layers without variables are left out.

    Raises:
      DataError: not such a file, of another network, or `model` is none of keras.applications.
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
    except Exception as error:  # HDF5, h5py and Keras raise almost any, by what is damaged
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{os.fspath(path)} does not fit {model}: {reason}") from error
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
