"""Whether weights are all those of a network, each of the right shape, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from checkpoints.errors import WeightsError

if TYPE_CHECKING:
    from models.network import Network

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
      WeightsError: some are missing, unused, or of another shape; the message names them.
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
        raise WeightsError(f"{what} does not fit the network: {'; '.join(problems)}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NUM_LISTED
    return ", ".join(names[:_NUM_LISTED]) + (f" and {more} more" if more > 0 else "")


def _dimensions(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
