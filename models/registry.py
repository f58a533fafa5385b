"""The networks by name, with the defaults that a run takes when a flag is left out.

Flag parsing reads this module, so it imports no TensorFlow: a builder is named as
"module:function" and imported when a network is built.

What tf_cnn_benchmarks and tf-imagenet called the networks that have another name here.

Flag parsing reads this module, so it imports no TensorFlow. Without it, the names that look most
alike would be suggested: resnet110, a network for CIFAR-10, for resnet101.
"""

from __future__ import annotations

import difflib

from common.errors import UsageError
from models.model_spec import ModelSpec, NetworkOptionError
from models.specs import CIFAR_SPECS, KERAS_SPECS, SLIM_SPECS

__all__ = ["ModelSpec", "NetworkOptionError", "UnknownModelError", "get", "names"]


class UnknownModelError(UsageError, ValueError):
    """No network of that name; the message suggests the nearest one."""


def _efficientnet_lite(
    variant: int, image_size: int, batch_size: int, learning_rate: float
) -> ModelSpec:
    return ModelSpec(
        name=f"efficientnet_lite{variant}",
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=learning_rate,
        builder="models.networks.efficientnet_lite:build",
        options={"variant": variant},
    )


# EfficientNet-Lite: the official rule, 0.016 for every 256 images of a batch.
# ResNet-50: 0.128 for every 256 images, as tf_cnn_benchmarks; the two small networks are its too.
_SPECS = {
    spec.name: spec
    for spec in (
        ModelSpec("trivial", 227, 32, 0.005, "models.networks.small:build_trivial"),
        ModelSpec("lenet", 28, 32, 0.005, "models.networks.small:build_lenet"),
        ModelSpec("resnet50", 224, 64, 0.032, "models.networks.resnet:build"),
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


# The old name -> ours, or None where there is no such network. tf_cnn_benchmarks' resnet101 and
# resnet152 have the stride in the first 1x1 convolution, as Keras' have and TF-Slim's have not.
ANCESTOR_NAMES: dict[str, str | None] = {
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
