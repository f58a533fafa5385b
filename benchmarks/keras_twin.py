"""One of our networks as a Keras user would write it: with Keras' own layers."""

from __future__ import annotations

import keras

from models.layers.batch_norm import FusedBatchNorm
from models.layers.depthwise_convolution import DepthwiseConvolution
from models.layers.dropout import Dropout
from models.layers.stochastic_depth import StochasticDepth


def with_keras_layers(model: keras.Model) -> keras.Model:
    """A clone with `keras.layers` in place of ours; weights are initialised anew.

    Stochastic depth becomes dropout of whole examples, which is what it is.
    """
    return keras.models.clone_model(model, clone_function=_clone)


def _clone(layer: keras.layers.Layer) -> keras.layers.Layer:
    name = layer.name
    if isinstance(layer, FusedBatchNorm):
        return keras.layers.BatchNormalization(
            momentum=layer.momentum, epsilon=layer.epsilon, scale=layer.scale, name=name
        )
    if isinstance(layer, StochasticDepth):
        return keras.layers.Dropout(
            1.0 - layer.keep_probability, noise_shape=(None, 1, 1, 1), name=name
        )
    if isinstance(layer, Dropout):
        return keras.layers.Dropout(layer.rate, name=name)
    if isinstance(layer, DepthwiseConvolution):
        return keras.layers.DepthwiseConv2D(
            layer.kernel_size,
            layer.strides,
            padding=layer.padding,
            use_bias=False,
            depthwise_initializer=layer.depthwise_initializer,
            name=name,
        )
    return layer.__class__.from_config(layer.get_config())
