"""The networks by name, and what earlier programs called them.

Flag parsing imports this module, so it imports no TensorFlow.
"""

from __future__ import annotations

from common.commands import nearest
from common.errors import UsageError
from models.model_spec import ModelSpec, NetworkOptionError
from models.specs import SPECS

__all__ = ["ModelSpec", "NetworkOptionError", "UnknownModelError", "get", "names"]

_SPECS = {spec.name: spec for spec in SPECS}


class UnknownModelError(UsageError, ValueError):
    """No network has that name; the message suggests the nearest one."""


def names() -> tuple[str, ...]:
    """Returns the names of all networks, sorted."""
    return tuple(sorted(_SPECS))


def get(name: str) -> ModelSpec:
    """Returns the network of that name.

    Raises:
        UnknownModelError: there is none; the message suggests the nearest one.
    """
    if name in _SPECS:
        return _SPECS[name]
    near = _nearest(name)
    hint = f"did you mean {near!r}? " if near else ""
    raise UnknownModelError(
        f"unknown model {name!r}; {hint}docs/models.md lists all {len(names())} networks"
    )


def _nearest(name: str) -> str | None:
    if name in ORIGINAL_NAMES:
        return ORIGINAL_NAMES[name]
    return _SMALLER.get(name) or nearest(name, names())


def answers() -> dict[str, str]:
    """Returns the answer of flag parsing to each name in ORIGINAL_NAMES, and to small ResNets."""
    absent = "is not among the networks that --help lists"
    answers = {
        theirs: f"is called {ours} here" if ours else absent
        for theirs, ours in ORIGINAL_NAMES.items()
    }
    return answers | {
        theirs: f"{absent}; did you mean {near}?" for theirs, near in _SMALLER.items()
    }


# ResNets that are not here -> the nearest for the same images. The most similar names are those of
# the networks for CIFAR-10.
_SMALLER = {f"resnet{dash}{depth}": "resnet50" for dash in ("", "_", "-") for depth in (18, 34)}

# Names in tf_cnn_benchmarks and tf-imagenet -> ours, or None where there is no such network.
# Without this table the most similar name would be suggested: resnet110, which is for CIFAR-10, for
# resnet101. tf_cnn_benchmarks' resnet101 and resnet152 have the stride in the first 1x1
# convolution, as Keras' networks have and TF-Slim's have not.
ORIGINAL_NAMES: dict[str, str | None] = {
    "alexnet": "alexnet_v2",
    "inception3": "inception_v3",
    "inception4": "inception_v4",
    "mobilenet": "mobilenet_v2_orig",
    "nasnet": "keras_nasnetmobile",
    "nasnetlarge": "keras_nasnetlarge",
    "nasnet_v1_small": "keras_nasnetmobile",
    "nasnet_v1_large": "keras_nasnetlarge",
    "resnet50_v1.5": "resnet50",
    "resnet50_v2": "resnet_v2_50",
    "resnet101": "keras_resnet101",
    "resnet101_v2": "resnet_v2_101",
    "resnet152": "keras_resnet152",
    "resnet152_v2": "resnet_v2_152",
    "vgg11": "vgg_a",
    "vgg16": "vgg_16",
    "vgg19": "vgg_19",
    "official_resnet18": None,
    "official_resnet18_v2": None,
    "official_resnet34": None,
    "official_resnet34_v2": None,
    "official_resnet50": "resnet50",
    "official_resnet50_v2": "resnet_v2_50",
    "official_resnet101": "keras_resnet101",
    "official_resnet101_v2": "resnet_v2_101",
    "official_resnet152": "keras_resnet152",
    "official_resnet152_v2": "resnet_v2_152",
    "official_resnet200": None,
    "official_resnet200_v2": None,
    "deepspeech2": None,
    "ncf": None,
    "ssd300": None,
}
