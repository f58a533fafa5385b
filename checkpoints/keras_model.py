"""Weights from a file for a plain Keras model of EfficientNet-Lite."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import keras

from checkpoints import completeness, efficientnet_lite_names, imports, keras_3_weights
from checkpoints.errors import WeightsError
from models.keras_network import keras_network

_CLASSIFIER = "head/dense"


def load(model: keras.Model, network: str, path: str | os.PathLike[str]) -> None:
    """Fill every variable of a model, a registered network with or without its classifier.

    Args:
      model: layers named as models/efficientnet_lite_layers.py names them, and no others.
      network: its name in models.registry.
      path: `.weights.h5` of Keras 3, `.h5` of efficientnet-lite-keras, `.pth` of
        efficientnet-lite-pytorch, or a TF1 checkpoint, of which the moving averages are read where
        it has any. A classifier that the model does not have is passed over.

    Raises:
      WeightsError: the file cannot be read, or does not fit the model.
    """
    path = Path(path)
    if path.name.endswith(keras_3_weights.SUFFIX):
        _load_keras_3(model, path)
        return
    scope = efficientnet_lite_names.scope(network)
    wrapped = keras_network(model, scope=scope, name=network)
    wanted = completeness.variable_shapes(wrapped)
    tensors = imports.tensors(path, network, wanted)
    classifier = f"{scope}/{_CLASSIFIER}/"
    if not any(name.startswith(classifier) for name in wrapped.variables):
        tensors = {k: value for k, value in tensors.items() if not k.startswith(classifier)}
    completeness.check(os.fspath(path), tensors, wanted)
    for name, variable in wrapped.variables.items():
        variable.assign(tensors[name])


def _load_keras_3(model: keras.Model, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            # What Keras suspects of a file that lacks the classifier; the error says it.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path} does not fit the model: {reason}") from error
