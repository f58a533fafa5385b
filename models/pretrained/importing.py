"""Weights from any file that this project reads, as the tensors of a registered network.

Whether weights are all those of a network, each of the right shape, and no others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from checkpoints.readers import keras_h5, tf1_archive, torch_file
from common.errors import DataError
from models.pretrained import efficientnet_lite_names, keras_weights

if TYPE_CHECKING:
    from models.network import Network


_EFFICIENTNET_LITE = "efficientnet_lite"
H5_SUFFIXES = (".h5", ".hdf5")
TORCH_SUFFIXES = (".pth", ".pt")


def read(
    path: str | os.PathLike[str],
    model: str,
    *,
    num_classes: int = 1000,
    weights: str | None = None,
) -> dict[str, np.ndarray]:
    """Checkpoint name -> array of every variable of `model`: none missing, none left over.

    Args:
      path: TF1 checkpoint (prefix, directory, .tar.gz), also with one scope before all names, .h5
        of efficientnet-lite-keras, .h5 or .weights.h5 of keras.applications, or .pth of
        efficientnet-lite-pytorch.
      model: a name of models.registry.
      weights: "raw" or "ema", of a TF1 checkpoint; None for its moving averages if it has any.

    Raises:
      DataError: the file cannot be read, or holds another network's weights.
    """
    wanted = network_shapes(model, num_classes)
    found = tensors(path, model, wanted, num_classes=num_classes, weights=weights)
    check(os.fspath(path), found, wanted)
    return {name: found[name] for name in wanted}


def tensors(
    path: str | os.PathLike[str],
    model: str,
    wanted: Mapping[str, Sequence[int]],
    *,
    num_classes: int = 1000,
    weights: str | None = None,
) -> dict[str, np.ndarray]:
    """As `read`, without the check that they are those of the network.

    Args:
      wanted: checkpoint name -> shape, in the network's order.

    Raises:
      DataError: the file cannot be read; the message names it.
    """
    path = Path(path)
    try:
        if path.suffix in (*H5_SUFFIXES, *TORCH_SUFFIXES):
            _require_file(path)
            if weights is not None:
                raise DataError(f"holds one set of weights: leave out --weights={weights}")
            return _of_keras_or_torch(path, model, wanted, num_classes)
        if path.name.endswith(tf1_archive.ARCHIVE_SUFFIXES):
            _require_file(path)
        return _without_prefix(tf1_archive.read(path, weights), wanted)
    except DataError as error:
        prefix = "" if str(path) in str(error) else f"{path}: "
        raise DataError(f"{prefix}{error}") from error


def _of_keras_or_torch(
    path: Path, model: str, wanted: Mapping[str, Sequence[int]], num_classes: int
) -> dict[str, np.ndarray]:
    is_h5, is_lite = path.suffix in H5_SUFFIXES, model.startswith(_EFFICIENTNET_LITE)
    if is_h5 and is_lite:
        return efficientnet_lite_names.from_efficientnet_lite_keras(model, keras_h5.read(path))
    if is_lite:
        return efficientnet_lite_names.from_torch(model, torch_file.read(path))
    if path.name.endswith(keras_weights.SUFFIX):
        layers = keras_weights.read(path, model, num_classes)
        return keras_weights.assign(layers, wanted)
    if is_h5:
        return keras_weights.assign(keras_h5.read(path), wanted)
    raise DataError(f"files of torch are read for EfficientNet-Lite only, not {model}")


def _without_prefix(
    found: dict[str, np.ndarray], wanted: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """The names as the network has them, where all of those lie under one prefix (`v0/cg/`)."""
    first = next(iter(wanted))
    for prefix in (name.removesuffix(first) for name in found if name.endswith(f"/{first}")):
        if all(prefix + name in found for name in wanted):
            return {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"no file {path}")


_NUM_LISTED = 5
Shapes = Mapping[str, Sequence[int]]


def network_shapes(model: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Checkpoint name -> shape of every variable of a registered network, in its order."""
    from models import registry

    spec = registry.get(model)
    network = spec.build(num_classes=num_classes, image_size=spec.image_size)
    return variable_shapes(network)


def variable_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Checkpoint name -> shape of every variable of a network, in its order."""
    shapes: dict[str, Any] = {n: tuple(v.shape) for n, v in network.variables.items()}
    return shapes


def check(what: str, tensors: Mapping[str, np.ndarray], wanted: Shapes) -> None:
    """Pass if `tensors` fill `wanted` one to one.

    Raises:
      DataError: some are missing, unused, or of another shape; the message names them.
    """
    missing = [name for name in wanted if name not in tensors]
    unused = [name for name in tensors if name not in wanted]
    differing = [
        f"{name} {_dimensions(tensors[name].shape)} instead of {_dimensions(wanted[name])}"
        for name in wanted
        if name in tensors and tuple(tensors[name].shape) != tuple(wanted[name])
    ]
    problems = [
        f"{len(names)} {kind}: {_listed(names)}"
        for kind, names in (
            ("missing", missing),
            ("unused", unused),
            ("of another shape", differing),
        )
        if names
    ]
    if problems:
        raise DataError(f"{what} does not fit the network: {'; '.join(problems)}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NUM_LISTED
    return ", ".join(names[:_NUM_LISTED]) + (f" and {more} more" if more > 0 else "")


def _dimensions(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
