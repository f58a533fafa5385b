"""Which variable of a network each array of a keras.applications weight file fills.

By the names of the layers where the file has all of the network's. Layers that Keras numbered when
they were made (`conv2d_94`) are called differently in every session: then by order, as Keras
itself loads those files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from checkpoints.errors import WeightsError

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
      WeightsError: the file has another number of layers, or a layer other variables.
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
        raise WeightsError(
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
        raise WeightsError(f"layer {layer!r} has {theirs}; the network wants {ours}")
    return filled
