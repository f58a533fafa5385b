"""One entry of the registry: a network's name, its defaults and where its builder is.

Flag parsing reads this module, so it imports no TensorFlow.

The check that a network can be built for images of some size.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.errors import UsageError

if TYPE_CHECKING:
    from models.network import Network


DTYPES = ("float32", "bfloat16", "float16")
DATA_FORMATS = ("NHWC", "NCHW")


class NetworkOptionError(UsageError, ValueError):
    """A value that the network cannot be built with; the message is one line."""


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

        Raises NetworkOptionError where a value is not one that the network can be built with.
        """
        _check_choice("dtype", dtype, DTYPES)
        _check_choice("data_format", data_format, DATA_FORMATS)
        if num_classes < 1:
            raise NetworkOptionError(f"num_classes must be at least 1, got {num_classes}")
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
        raise NetworkOptionError(f"{what} must be one of {', '.join(choices)}, got {value!r}")


def check_image_size(name: str, image_size: int, minimum: int) -> None:
    """Raises NetworkOptionError where images with sides of so many pixels are too small."""
    if image_size < minimum:
        raise NetworkOptionError(
            f"{name} needs images of at least {minimum} x {minimum} pixels, "
            f"got image_size={image_size}"
        )
