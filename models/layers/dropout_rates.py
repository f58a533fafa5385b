"""`--dropout_rate` and `--drop_path_rate`: other rates than a network was published with."""

from __future__ import annotations

from typing import Any

import keras

from models.layers.dropout import Dropout, StochasticDepth

# Of the last block, of all networks here that drop branches: EfficientNet's, Lite and V2. The rate
# of a block is in proportion to its depth.
_PUBLISHED_DROP_PATH_RATE = 0.2


def set_rates(
    name: str, model: keras.Model | None, dropout_rate: float | None, drop_path_rate: float | None
) -> str:
    """Sets the rates of a network that was just built; None keeps the network's.

    Args:
        name: of the network.
        model: None for TF-Slim.
        dropout_rate: of the units before the classifier, and wherever the network drops units.
        drop_path_rate: of the branch of the last block; earlier blocks have proportionally less.

    Returns:
        Why a rate cannot be set, "" if they are.
    """
    layers: list[Any] = [] if model is None else model.layers
    dropouts = [layer for layer in layers if isinstance(layer, Dropout)]
    branches = [layer for layer in layers if isinstance(layer, StochasticDepth)]
    if dropout_rate is not None and not dropouts:
        return _refusal(name, model, "dropout", "dropout_rate")
    if drop_path_rate is not None and not branches:
        return _refusal(name, model, "stochastic depth", "drop_path_rate")
    if dropout_rate is not None:
        for dropout in dropouts:
            dropout.rate = dropout_rate
    if drop_path_rate is not None:
        for branch in branches:
            published = 1.0 - branch.keep_probability
            branch.keep_probability = 1.0 - published * drop_path_rate / _PUBLISHED_DROP_PATH_RATE
    return ""


def _refusal(name: str, model: keras.Model | None, what: str, flag: str) -> str:
    if model is None:
        return f"{name}, a network of TF-Slim, keeps its own {what}: leave --{flag} out"
    return f"{name} has no {what}: leave --{flag} out"
