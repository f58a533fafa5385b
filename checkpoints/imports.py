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
      path: TF1 checkpoint (prefix, directory, .tar.gz), .h5 of efficientnet-lite-keras, .h5 or
        .weights.h5 of keras.applications, or .pth of efficientnet-lite-pytorch.
      model: a name of models.registry.
      weights: "raw" or "ema", of a TF1 checkpoint; None for its moving averages if it has any.

    Raises:
      WeightsError: the file cannot be read, or holds another network's weights.
    """
    wanted = completeness.network_shapes(model, num_classes)
    tensors = _read(Path(path), model, wanted, weights, num_classes)
    completeness.check(os.fspath(path), tensors, wanted)
    return {name: tensors[name] for name in wanted}


def _read(
    path: Path,
    model: str,
    wanted: Mapping[str, Sequence[int]],
    weights: str | None,
    num_classes: int,
) -> dict[str, np.ndarray]:
    is_h5 = path.suffix in H5_SUFFIXES
    if not is_h5 and path.suffix not in TORCH_SUFFIXES:
        if path.name.endswith(tf1_checkpoint.ARCHIVE_SUFFIXES):
            _require_file(path)
        return tf1_checkpoint.read(path, weights)
    _require_file(path)
    if weights is not None:
        raise WeightsError(f"{path} holds one set of weights: leave out --weights={weights}")
    is_lite = model.startswith(_EFFICIENTNET_LITE)
    if is_h5 and is_lite:
        return efficientnet_lite_names.from_efficientnet_lite_keras(model, h5_weights.read(path))
    try:
        if path.name.endswith(keras_3_weights.SUFFIX):
            layers = keras_3_weights.read(path, model, num_classes)
            return keras_applications.assign(layers, wanted)
        if is_h5:
            return keras_applications.assign(h5_weights.read(path), wanted)
        if is_lite:
            return efficientnet_lite_names.from_torch(model, torch_file.read(path))
    except WeightsError as error:
        prefix = "" if str(path) in str(error) else f"{path}: "
        raise WeightsError(f"{prefix}{error}") from error
    raise WeightsError(f"{path}: files of torch are read for EfficientNet-Lite only, not {model}")


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"no file {path}")
