"""Makes the layers of one network, so that its dtype, layout and batch norm are set once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from models.layers.batch_norm import FusedBatchNorm
from models.layers.convolution import Convolution
from models.layers.depthwise_convolution import DepthwiseConvolution
from models.layers.dropout import Dropout, StochasticDepth
from models.layers.layout import channel_axis, keras_data_format
from models.layers.pixel_normalization import PixelNormalization, PixelRange
from models.layers.residual import ZeroPaddedShortcut


@dataclass(frozen=True)
class LayerFactory:
    """Makes Keras layers that compute in `dtype`; variables and classifiers are float32.

    A dot in a layer's name is a slash in the checkpoint's names (see models/network.py).
    """

    dtype: str
    layout: str
    sync_batch_norm: bool = False
    kernel_initializer: Any = "glorot_uniform"
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3

    @property
    def policy(self) -> str:
        """Returns the Keras dtype policy: float32 variables, computation in `dtype`."""
        return "float32" if self.dtype == "float32" else f"mixed_{self.dtype}"

    @property
    def data_format(self) -> str:
        """Returns the layout as Keras names it."""
        return keras_data_format(self.layout)

    def pixels(self, images: Any, pixel_range: PixelRange) -> Any:
        """Normalizes images [B, H, W, 3] to `dtype`, and transposes them if the layout is NCHW."""
        normalize = PixelNormalization(*pixel_range, output_dtype=self.dtype, name="pixels")
        normalized = normalize(images)
        if self.layout == "NHWC":
            return normalized
        return keras.layers.Permute((3, 1, 2), dtype=self.policy, name="to_nchw")(normalized)

    def convolution(
        self,
        name: str,
        filters: int,
        kernel_size: int,
        *,
        strides: int = 1,
        padding: str = "same",
        use_bias: bool = False,
    ) -> keras.layers.Layer:
        return Convolution(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=use_bias,
            kernel_initializer=self._initializer(),
            **self._spatial(name),
        )

    def depthwise_convolution(
        self, name: str, kernel_size: int, *, strides: int = 1
    ) -> keras.layers.Layer:
        return DepthwiseConvolution(
            kernel_size,
            strides,
            depthwise_initializer=self._initializer(),
            **self._spatial(name),
        )

    def batch_norm(self, name: str, *, gamma_initializer: str = "ones") -> keras.layers.Layer:
        return FusedBatchNorm(
            self.bn_momentum,
            self.bn_epsilon,
            gamma_initializer=gamma_initializer,
            synchronized=self.sync_batch_norm,
            **self._spatial(name),
        )

    def relu(self, name: str, *, max_value: float | None = None) -> keras.layers.Layer:
        return keras.layers.ReLU(max_value=max_value, dtype=self.policy, name=name)

    def add(self, name: str) -> keras.layers.Layer:
        return keras.layers.Add(dtype=self.policy, name=name)

    def concatenate(self, name: str) -> keras.layers.Layer:
        """Returns a layer that joins the channels of a list of inputs."""
        return keras.layers.Concatenate(
            axis=channel_axis(self.data_format), dtype=self.policy, name=name
        )

    def zero_padded_shortcut(self, name: str, filters: int, strides: int) -> keras.layers.Layer:
        return ZeroPaddedShortcut(filters, strides, **self._spatial(name))

    def zero_padding(self, name: str, padding: int) -> keras.layers.Layer:
        return keras.layers.ZeroPadding2D(padding, **self._spatial(name))

    def max_pooling(self, name: str, pool_size: int, strides: int) -> keras.layers.Layer:
        return keras.layers.MaxPooling2D(pool_size, strides, **self._spatial(name))

    def average_pooling(self, name: str, pool_size: int, strides: int) -> keras.layers.Layer:
        return keras.layers.AveragePooling2D(pool_size, strides, **self._spatial(name))

    def global_average_pooling(self, name: str) -> keras.layers.Layer:
        return keras.layers.GlobalAveragePooling2D(
            data_format=self.data_format, dtype="float32", name=name
        )

    def global_max_pooling(self, name: str) -> keras.layers.Layer:
        return keras.layers.GlobalMaxPooling2D(
            data_format=self.data_format, dtype="float32", name=name
        )

    def flatten(self, name: str) -> keras.layers.Layer:
        return keras.layers.Flatten(**self._spatial(name))

    def hidden(self, name: str, units: int) -> keras.layers.Layer:
        """Returns a dense layer with ReLU."""
        initializer: Any = "he_normal"
        return keras.layers.Dense(
            units, "relu", kernel_initializer=initializer, dtype=self.policy, name=name
        )

    def classifier(
        self,
        name: str,
        num_classes: int,
        initializer: Any = "glorot_uniform",
        activation: Any = None,
    ) -> keras.layers.Layer:
        """Returns the dense layer of the logits, which computes in float32."""
        return keras.layers.Dense(
            num_classes, activation, kernel_initializer=initializer, dtype="float32", name=name
        )

    def stochastic_depth(self, name: str, keep_probability: float) -> keras.layers.Layer:
        return StochasticDepth(keep_probability, dtype=self.policy, name=name)

    def dropout(self, name: str, rate: float) -> keras.layers.Layer:
        return Dropout(rate, dtype="float32", name=name)

    def _spatial(self, name: str) -> dict[str, Any]:
        return {"data_format": self.data_format, "dtype": self.policy, "name": name}

    def _initializer(self) -> Any:
        # An initializer of Keras 3 returns the same values at every call: each layer gets its own.
        initializer: Any = keras.initializers.get(self.kernel_initializer)
        return initializer.clone()


def fan_out_normal() -> keras.initializers.Initializer:
    """Returns a normal initializer of std sqrt(2 / fan_out), not truncated."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
