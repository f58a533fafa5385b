"""What the registry holds of a network, and the configuration that its builder is given.

Flag parsing imports this module, so it imports TensorFlow only when a network is built.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common import installation
from common.errors import UsageError

if TYPE_CHECKING:
    import tensorflow as tf

    from models.layer_factory import LayerFactory
    from models.network import Network


DTYPES = ("float32", "bfloat16", "float16")
DATA_FORMATS = ("NHWC", "NCHW")


class NetworkOptionError(UsageError, ValueError):
    """The network cannot be built with this value; the message is one line."""


@dataclass(frozen=True)
class ModelSpec:
    """A registered network: its name, its defaults and its builder.

    Attributes:
        batch_size: images per tower.
        learning_rate: for that batch on one tower.
        builder: "module:function", called as `build(config: BuildConfig, **options)`.
        background_class: whether the network has one more output, class 0, which no label uses.
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
        dropout_rate: float | None = None,
        drop_path_rate: float | None = None,
        variables: Mapping[str, tf.Variable] | None = None,
    ) -> Network:
        """Creates the network and its variables; call it inside `strategy.scope()`.

        Args:
            dropout_rate, drop_path_rate: None keeps the network's; see `dropout_rates.set_rates`.
            variables: of the same network for images of another size, which this one shares; None
                creates new ones.

        Raises:
            NetworkOptionError: the network cannot be built with one of these values.
        """
        _check_choice("dtype", dtype, DTYPES)
        _check_choice("data_format", data_format, DATA_FORMATS)
        if num_classes < 1:
            raise NetworkOptionError(f"num_classes must be at least 1, got {num_classes}")
        module, function = self.builder.split(":")
        build = getattr(importlib.import_module(installation.module(module)), function)
        config = BuildConfig(
            name=self.name,
            num_classes=num_classes + int(self.background_class),
            image_size=image_size,
            dtype=dtype,
            data_format=data_format,
            sync_batch_norm=sync_batch_norm,
            background_class=self.background_class,
            variables=variables,
        )
        network = build(config, **self.options)
        if dropout_rate is not None or drop_path_rate is not None:
            from models.layers.dropout_rates import set_rates

            if problem := set_rates(self.name, network.keras_model, dropout_rate, drop_path_rate):
                raise NetworkOptionError(problem)
        return network


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise NetworkOptionError(f"{what} must be one of {', '.join(choices)}, got {value!r}")


@dataclass(frozen=True)
class BuildConfig:
    """The choices that every builder is given, with helpers for what builders do with them.

    Attributes:
        name: also the first part of the names of variables, unless a builder says otherwise.
        num_classes: outputs of the network, including the background class.
        image_size: height and width in pixels.
        dtype: of the computation; one of DTYPES. Variables are float32.
        data_format: one of DATA_FORMATS.
        variables: checkpoint name -> variable to use; None for new ones.
    """

    name: str
    num_classes: int
    image_size: int
    dtype: str = "float32"
    data_format: str = "NHWC"
    sync_batch_norm: bool = False
    background_class: bool = False
    variables: Mapping[str, tf.Variable] | None = None

    def shared(self, name: str, shape: Sequence[int]) -> tf.Variable:
        """Returns the variable of `variables` that a layer needs.

        Args:
            name: in a checkpoint.
            shape: that the layer has for images of this size.

        Raises:
            NetworkOptionError: it has another shape there, or is not there.
        """
        variable = (self.variables or {}).get(name)
        if variable is None or tuple(variable.shape) != tuple(shape):
            raise NetworkOptionError(
                f"the weights of {self.name} depend on the image size: {name} has the shape "
                f"{list(shape)} for {self.image_size} pixels"
                + ("" if variable is None else f", and {list(variable.shape)} for another size")
                + "; leave --image_size_schedule out, or choose another --model"
            )
        return variable

    def check(self, *, minimum_image_size: int, nhwc_only: bool = False) -> None:
        """Raises NetworkOptionError for images that are too small and for an unsupported layout."""
        if self.image_size < minimum_image_size:
            raise NetworkOptionError(
                f"{self.name} needs images of at least {minimum_image_size} x {minimum_image_size} "
                f"pixels, got image_size={self.image_size}"
            )
        if nhwc_only and self.data_format != "NHWC":
            raise NetworkOptionError(f"{self.name} supports NHWC only: leave data_format out")

    def layers(self, **options: Any) -> LayerFactory:
        """Returns a factory of layers; `options` are the further fields of LayerFactory."""
        from models.layer_factory import LayerFactory

        return LayerFactory(
            dtype=self.dtype,
            layout=self.data_format,
            sync_batch_norm=self.sync_batch_norm,
            **options,
        )

    def network(self, images: Any, logits: Any, *, scope: str | None = None) -> Network:
        """Returns the Network that computes `logits` from `images`, two Keras tensors.

        Its variables are named `<scope>/<layer>/<variable>`, by default `<name>/...`.
        """
        import keras

        from models.network import keras_network

        scope = scope or self.name
        model = keras.Model(images, logits, name=scope)
        return keras_network(
            model,
            scope=scope,
            name=self.name,
            background_class=self.background_class,
            shared=None if self.variables is None else self.shared,
        )
