"""The networks by name, with the defaults that a run takes when a flag is left out.

Flag parsing reads this module, so it imports no TensorFlow: a builder is named as
"module:function" and imported when a network is built.
"""

from __future__ import annotations

import difflib

from models.ancestor_names import ANCESTOR_NAMES
from models.cifar_specs import CIFAR_SPECS
from models.keras_specs import KERAS_SPECS
from models.model_spec import ModelSpec, NetworkOptionError
from models.slim.specs import SLIM_SPECS

__all__ = ["ModelSpec", "NetworkOptionError", "UnknownModelError", "get", "names"]


class UnknownModelError(ValueError):
    """No network of that name; the message suggests the nearest one."""

    exit_code = 2


def _efficientnet_lite(
    variant: int, image_size: int, batch_size: int, learning_rate: float
) -> ModelSpec:
    return ModelSpec(
        name=f"efficientnet_lite{variant}",
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=learning_rate,
        builder="models.efficientnet_lite:build",
        options={"variant": variant},
    )


# EfficientNet-Lite: the official rule, 0.016 for every 256 images of a batch.
# ResNet-50: 0.128 for every 256 images, as tf_cnn_benchmarks; the two small networks are its too.
_SPECS = {
    spec.name: spec
    for spec in (
        ModelSpec("trivial", 227, 32, 0.005, "models.trivial:build"),
        ModelSpec("lenet", 28, 32, 0.005, "models.lenet:build"),
        ModelSpec("resnet50", 224, 64, 0.032, "models.resnet:build"),
        _efficientnet_lite(0, image_size=224, batch_size=128, learning_rate=0.008),
        _efficientnet_lite(1, image_size=240, batch_size=128, learning_rate=0.008),
        _efficientnet_lite(2, image_size=260, batch_size=64, learning_rate=0.004),
        _efficientnet_lite(3, image_size=280, batch_size=64, learning_rate=0.004),
        _efficientnet_lite(4, image_size=300, batch_size=32, learning_rate=0.002),
        *CIFAR_SPECS,
        *SLIM_SPECS,
        *KERAS_SPECS,
    )
}


def names() -> tuple[str, ...]:
    """The names of all networks, sorted."""
    return tuple(sorted(_SPECS))


def answers() -> dict[str, str]:
    """What refuses each name that a network had in the ancestors, for flag parsing."""
    return {
        theirs: f"is called {ours} here" if ours else "is not among the networks that --help lists"
        for theirs, ours in ANCESTOR_NAMES.items()
    }


def get(name: str) -> ModelSpec:
    """The network of that name. Raises UnknownModelError, which suggests the nearest one."""
    if name in _SPECS:
        return _SPECS[name]
    near = _nearest(name)
    hint = f"did you mean {near!r}? " if near else ""
    raise UnknownModelError(f"unknown model {name!r}; {hint}Models: {', '.join(names())}")


def _nearest(name: str) -> str | None:
    """Ours for an ancestor's name, whatever it looks like; else the name that looks most alike."""
    if name in ANCESTOR_NAMES:
        return ANCESTOR_NAMES[name]
    return next(iter(difflib.get_close_matches(name, names(), n=1)), None)
