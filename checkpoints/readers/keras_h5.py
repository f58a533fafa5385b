"""Reads weight files of Keras before version 3 (.h5): layers by name, each with its variables."""

from __future__ import annotations

import os
from typing import Any

import h5py
import numpy as np

from common.errors import DataError

_WHOLE_MODEL = "model_weights"
# The largest compression ratio that is believed; deflate, the usual method, reaches 1032.
_LARGEST_RATIO = 2000
Layers = dict[str, dict[str, np.ndarray]]


def read(path: str | os.PathLike[str]) -> Layers:
    """Returns layer -> variable -> array, in the file's order, without layers without variables.

    A variable's name is the last part of its name in the file, without ":0". Files of weights and
    files of a whole model are read.

    Raises:
        DataError: It is not such a file, is damaged, or is of Keras 3, which numbers variables.
    """
    try:
        with h5py.File(path, "r") as file:
            is_whole_model = _WHOLE_MODEL in file
            root = _group(file, _WHOLE_MODEL) if is_whole_model else file
            layers = {name: _variables(_group(root, name)) for name in _names(root, "layer_names")}
    except DataError as error:
        raise DataError(f"{os.fspath(path)}: {error}") from error
    except Exception as error:  # HDF5 and h5py raise almost any
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{os.fspath(path)} cannot be read as .h5: {reason}") from error
    return {name: variables for name, variables in layers.items() if variables}


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    group = _item(parent, name)
    if not isinstance(group, h5py.Group):
        raise DataError(f"{name!r} is not a group")
    return group


def _item(parent: h5py.Group, path: str) -> Any:
    """Returns an item of the file itself, as links may name any other file of this machine."""
    item: Any = parent
    for name in path.split("/"):
        link = item.get(name, getlink=True)
        if link is None:
            raise DataError(f"{path!r} is not in the file")
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{path!r} is a link: links are not followed")
        item = item[name]
    return item


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Returns a list of names, which Keras splits into `<attribute>0`, `1`, ... if it is long."""
    parts: list[Any] = []
    if attribute in group.attrs:
        parts.append(group.attrs[attribute])
    else:
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{len(parts)}"])
        if not parts:
            raise DataError(
                f"has no {attribute}: it is not a weight file of Keras 2 (in Keras 3, load it into "
                "the model and save its variables by name)"
            )
    return [name.decode() if isinstance(name, bytes) else str(name) for p in parts for name in p]


def _variables(group: h5py.Group) -> dict[str, np.ndarray]:
    variables: dict[str, np.ndarray] = {}
    for name in _names(group, "weight_names"):
        key = name.rsplit("/", 1)[-1].removesuffix(":0")
        if key in variables:
            raise DataError(f"layer {group.name!r} is a nested model, which is not supported")
        variables[key] = _array(group, name)
    return variables


def _array(group: h5py.Group, name: str) -> np.ndarray:
    dataset = _item(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise DataError(f"{name!r} is not an array of this file")
    if dataset.nbytes > _LARGEST_RATIO * dataset.id.get_storage_size():
        raise DataError(f"{name!r} claims {dataset.nbytes:,} bytes that the file does not hold")
    return np.asarray(dataset)
