"""Weights from any file that this project reads, as the tensors of a registered network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from checkpoints import (
    completeness,
    efficientnet_lite_names,
    h5_weights,
    keras_3_weights,
    keras_applications,
    tf1_checkpoint,
    torch_file,
)
from checkpoints.errors import WeightsError

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
      WeightsError: the file cannot be read, or holds another network's weights.
    """
    wanted = completeness.network_shapes(model, num_classes)
    found = tensors(path, model, wanted, num_classes=num_classes, weights=weights)
    completeness.check(os.fspath(path), found, wanted)
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
      WeightsError: the file cannot be read; the message names it.
    """
    path = Path(path)
    try:
        if path.suffix in (*H5_SUFFIXES, *TORCH_SUFFIXES):
            _require_file(path)
            if weights is not None:
                raise WeightsError(f"holds one set of weights: leave out --weights={weights}")
            return _of_keras_or_torch(path, model, wanted, num_classes)
        if path.name.endswith(tf1_checkpoint.ARCHIVE_SUFFIXES):
            _require_file(path)
        return _without_prefix(tf1_checkpoint.read(path, weights), wanted)
    except WeightsError as error:
        prefix = "" if str(path) in str(error) else f"{path}: "
        raise WeightsError(f"{prefix}{error}") from error


def _of_keras_or_torch(
    path: Path, model: str, wanted: Mapping[str, Sequence[int]], num_classes: int
) -> dict[str, np.ndarray]:
    is_h5, is_lite = path.suffix in H5_SUFFIXES, model.startswith(_EFFICIENTNET_LITE)
    if is_h5 and is_lite:
        return efficientnet_lite_names.from_efficientnet_lite_keras(model, h5_weights.read(path))
    if is_lite:
        return efficientnet_lite_names.from_torch(model, torch_file.read(path))
    if path.name.endswith(keras_3_weights.SUFFIX):
        layers = keras_3_weights.read(path, model, num_classes)
        return keras_applications.assign(layers, wanted)
    if is_h5:
        return keras_applications.assign(h5_weights.read(path), wanted)
    raise WeightsError(f"files of torch are read for EfficientNet-Lite only, not {model}")


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
        raise WeightsError(f"no file {path}")
