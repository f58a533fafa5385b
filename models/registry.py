"""The networks by name, with the defaults that a run takes when a flag is left out.

Flag parsing reads this module, so it imports no TensorFlow: a builder is named as
"module:function" and imported when a network is built.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.network import Network

DTYPES = ("float32", "bfloat16", "float16")
DATA_FORMATS = ("NHWC", "NCHW")


class UnknownModelError(ValueError):
    """No network of that name; the message suggests the nearest names."""


@dataclass(frozen=True)
class ModelSpec:
    """One network: its name, its defaults and where its builder is.

    `batch_size` is per tower and `learning_rate` belongs to that batch on one tower. `builder` is
    called with (name, num_classes, image_size, dtype, data_format, sync_batch_norm) and `options`,
    all by keyword. With `background_class` the network has one output more, class 0, that no label
    uses.
    """

    name: str
    image_size: int
    batch_size: int
    learning_rate: float
    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    background_class: bool = False

    def build(
        self,
        *,
        num_classes: int,
        image_size: int,
        dtype: str = "float32",
        data_format: str = "NHWC",
        sync_batch_norm: bool = False,
    ) -> Network:
        """Creates the network's variables; call it inside `strategy.scope()`.

        Raises ValueError where a value is not one that the network can be built with.
        """
        _check_choice("dtype", dtype, DTYPES)
        _check_choice("data_format", data_format, DATA_FORMATS)
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        module, function = self.builder.split(":")
        build = getattr(importlib.import_module(module), function)
        return build(
            name=self.name,
            num_classes=num_classes + int(self.background_class),
            background_class=self.background_class,
            image_size=image_size,
            dtype=dtype,
            data_format=data_format,
            sync_batch_norm=sync_batch_norm,
            **self.options,
        )


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}, got {value!r}")


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
    )
}


def names() -> tuple[str, ...]:
    """The names of all networks, sorted."""
    return tuple(sorted(_SPECS))


def get(name: str) -> ModelSpec:
    """The network of that name. Raises UnknownModelError, which suggests near names."""
    if name in _SPECS:
        return _SPECS[name]
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownModelError(f"unknown model {name!r}; {hint}Models: {', '.join(names())}")
