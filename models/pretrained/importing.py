"""Reads the weights of a registered network from any file format that this project knows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from checkpoints.readers import keras_h5, tf1_archive, torch_file
from checkpoints.restore_plan import dimensions, listed
from common.errors import DataError
from models import registry
from models.pretrained import efficientnet_lite_names, keras_weights

if TYPE_CHECKING:
    from models.network import Network

_EFFICIENTNET_LITE = "efficientnet_lite"
_H5_SUFFIXES = (".h5", ".hdf5")
_TORCH_SUFFIXES = (".pth", ".pt")

Shapes = Mapping[str, Sequence[int]]


def read(
    path: str | os.PathLike[str],
    model: str,
    *,
    num_classes: int = 1000,
    weights: str | None = None,
) -> dict[str, np.ndarray]:
    """Returns checkpoint name -> array of every variable of `model`: all of them, and no others.

    Args:
        path: TF1 checkpoint (prefix, directory, .tar.gz), also with one scope before all names,
            .h5 of efficientnet-lite-keras, .h5 or .weights.h5 of keras.applications, or .pth of
            efficientnet-lite-pytorch.
        model: A name in models.registry.
        num_classes: Of the network in the file, without a background class.
        weights: "raw" or "ema", of a TF1 checkpoint; None for its moving averages if it has any.

    Raises:
        DataError: The file cannot be read, or holds another network's weights.
    """
    wanted = network_shapes(model, num_classes)
    found = tensors(path, model, wanted, num_classes=num_classes, weights=weights)
    check(os.fspath(path), found, wanted)
    return {name: found[name] for name in wanted}


def tensors(
    path: str | os.PathLike[str],
    model: str,
    wanted: Shapes,
    *,
    num_classes: int = 1000,
    weights: str | None = None,
) -> dict[str, np.ndarray]:
    """Does the same as `read` without checking that the tensors are those of the network.

    Args:
        path: See `read`, as for `model`, `num_classes` and `weights`.
        wanted: Checkpoint name -> shape, in the network's order.

    Raises:
        DataError: The file cannot be read; the message names it.
    """
    path = Path(path)
    is_keras_or_torch = path.suffix in (*_H5_SUFFIXES, *_TORCH_SUFFIXES)
    is_archive = path.name.endswith(tf1_archive.ARCHIVE_SUFFIXES)
    try:
        if (is_keras_or_torch or is_archive) and not path.is_file():
            raise DataError(f"no file {path}")
        if not is_keras_or_torch:
            return _without_prefix(tf1_archive.read(path, weights), wanted)
        if weights is not None:
            raise DataError(f"holds one set of weights: leave out --weights={weights}")
        return _of_keras_or_torch(path, model, wanted, num_classes)
    except DataError as error:
        prefix = "" if str(path) in str(error) else f"{path}: "
        raise DataError(f"{prefix}{error}") from error


def check(what: str, tensors: Mapping[str, np.ndarray], wanted: Shapes) -> None:
    """Checks that `tensors` fill `wanted` one to one.

    Raises:
        DataError: Some are missing, unused, or of another shape; the message names them.
    """
    problems = {
        "missing": [name for name in wanted if name not in tensors],
        "unused": [name for name in tensors if name not in wanted],
        "of another shape": [
            f"{name} {dimensions(tensors[name].shape)} instead of {dimensions(wanted[name])}"
            for name in wanted
            if name in tensors and tuple(tensors[name].shape) != tuple(wanted[name])
        ],
    }
    found = [f"{len(names)} {kind}: {listed(names)}" for kind, names in problems.items() if names]
    if found:
        raise DataError(f"{what} does not fit the network: {'; '.join(found)}")


def network_shapes(model: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Returns checkpoint name -> shape of every variable of a registered network, in its order."""
    spec = registry.get(model)
    return variable_shapes(spec.build(num_classes=num_classes, image_size=spec.image_size))


def variable_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Returns checkpoint name -> shape of every variable of a network, in its order."""
    shapes: dict[str, Any] = {n: tuple(v.shape) for n, v in network.variables.items()}
    return shapes


def _of_keras_or_torch(
    path: Path, model: str, wanted: Shapes, num_classes: int
) -> dict[str, np.ndarray]:
    is_h5, is_lite = path.suffix in _H5_SUFFIXES, model.startswith(_EFFICIENTNET_LITE)
    if is_h5 and is_lite:
        return efficientnet_lite_names.from_efficientnet_lite_keras(model, keras_h5.read(path))
    if is_lite:
        return efficientnet_lite_names.from_torch(model, torch_file.read(path))
    if path.name.endswith(keras_weights.SUFFIX):
        layers = keras_weights.read(path, model, num_classes)
        return keras_weights.assign(layers, wanted)
    if is_h5:
        return keras_weights.assign(keras_h5.read(path), wanted)
    raise DataError(f"torch files are read for EfficientNet-Lite only, not for {model}")


def _without_prefix(found: dict[str, np.ndarray], wanted: Shapes) -> dict[str, np.ndarray]:
    """Strips one prefix (`v0/cg/`) from all names if the network's names then are all there."""
    first = next(iter(wanted))
    for prefix in (name.removesuffix(first) for name in found if name.endswith(f"/{first}")):
        if all(prefix + name in found for name in wanted):
            return {name.removeprefix(prefix): value for name, value in found.items()}
    return found
