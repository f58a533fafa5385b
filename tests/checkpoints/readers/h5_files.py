"""Writes weight files as Keras 2 wrote them: names in attributes, arrays in groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np


def write(path: Path, layers: Mapping[str, Mapping[str, np.ndarray]], *, nested: bool = False):
    """`nested` puts everything into the group of a file that holds a whole model."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if nested else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, variables in layers.items():
            group = root.create_group(layer)
            names = [f"{layer}/{variable}:0" for variable in variables]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, values in zip(names, variables.values(), strict=True):
                group[name] = values
    return path
