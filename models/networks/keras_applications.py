"""The networks of keras.applications, cloned with this project's batch norm and dropout.

Keras' own batch norm does not use the fused kernel and all-reduces its moving statistics at every
step; its dropout gives all towers of a MirroredStrategy the same mask.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import tensorflow as tf

# Keras exports ConvNeXt's LayerScale nowhere else.
from keras.src.applications.convnext import LayerScale as KerasLayerScale

from models.layer_factory import LayerFactory
from models.layers.batch_norm import FusedBatchNorm
from models.layers.dropout import Dropout, StochasticDepth
from models.layers.pixel_normalization import (
    HALF_RANGE,
    IMAGENET,
    IMAGENET_CENTERED,
    PLUS_MINUS_ONE,
)
from models.layers.residual import LayerScale
from models.model_spec import BuildConfig
from models.network import Network

# As the specs name them: the modes of keras.applications' preprocess_input, and EfficientNetV2's.
PIXEL_RANGES = {
    "caffe": IMAGENET_CENTERED,
    "torch": IMAGENET,
    "tf": PLUS_MINUS_ONE,
    "half_range": HALF_RANGE,
}
# These networks normalize pixels themselves unless include_preprocessing=False.
WITH_PREPROCESSING = ("ConvNeXt", "EfficientNetV2", "MobileNetV3")


def build(config: BuildConfig, application: str, pixels: str, minimum_image_size: int) -> Network:
    """Builds `keras.applications.<application>` with new weights and logits computed in float32.

    Variables are <name>/<Keras' layer>/<Keras' variable>. `keras_model` takes pixels in 0..255 and
    normalizes them.
    """
    config.check(minimum_image_size=minimum_image_size, nhwc_only=True)
    factory = config.layers()
    # In a thread of its own, outside the strategy's scope: the original's variables are discarded
    # and need no copy on every tower.
    with ThreadPoolExecutor(1) as executor:
        original = executor.submit(_original, config, application, pixels, factory).result()
    head, float32_factory = _head(original), dataclasses.replace(factory, dtype="float32")

    def clone_layer(layer: Any) -> Any:
        return _clone(layer, float32_factory if layer.name in head else factory)

    # Recursive, as ConvNeXt's stem and down-sampling are models inside the model.
    clone: Any = keras.models.clone_model(
        original, clone_function=clone_layer, call_function=_call, recursive=True
    )
    # The original takes a list of one tensor of images.
    return config.network(clone.inputs[0], clone.outputs[0])


def _original(
    config: BuildConfig, application: str, pixels: str, factory: LayerFactory
) -> keras.Model:
    create: Any = getattr(keras.applications, application)
    options: dict[str, Any] = {}
    if application.startswith(WITH_PREPROCESSING):
        options["include_preprocessing"] = False
    image_shape = (config.image_size, config.image_size, 3)
    with tf.device("CPU:0"):
        images = keras.Input(image_shape, name="images")
        normalized = factory.pixels(images, PIXEL_RANGES[pixels])
        if pixels == "caffe":  # its channels are BGR
            normalized = keras.ops.flip(normalized, axis=-1)
        return create(
            input_tensor=normalized,
            input_shape=image_shape,
            weights=None,
            classes=config.num_classes,
            classifier_activation=None,
            **options,
        )


def _head(model: keras.Model) -> frozenset[str]:
    """Returns the names of the layer that makes the logits and of those after it."""
    last = max(index for index, layer in enumerate(model.layers) if layer.weights)
    return frozenset(layer.name for layer in model.layers[last:])


def _call(layer: Any, *arguments: Any, mask: Any = None, **options: Any) -> Any:
    """Calls a layer without the mask that Keras' own batch norm takes; images have none."""
    return layer(*arguments, **options)


def _clone(layer: Any, factory: LayerFactory) -> Any:
    """Returns a copy of the layer in the network's dtype, or this project's layer in its place."""
    named = {"dtype": factory.policy, "name": layer.name}
    if isinstance(layer, keras.layers.BatchNormalization):
        return FusedBatchNorm(
            layer.momentum,
            layer.epsilon,
            scale=layer.scale,
            gamma_initializer=layer.gamma_initializer,
            synchronized=factory.sync_batch_norm,
            **named,
        )
    if isinstance(layer, keras.layers.Dropout):
        if layer.noise_shape is None:
            return Dropout(layer.rate, **named)
        # EfficientNet's stochastic depth.
        return StochasticDepth(1.0 - layer.rate, **named)
    if isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
        # EfficientNet's own normalization: the pixels are normalized before it.
        return keras.layers.Identity(**named)
    if isinstance(layer, KerasLayerScale):
        return LayerScale(layer.init_values, **named)
    config = layer.get_config()
    # Operations that are not layers, such as an addition, have no dtype of their own.
    if layer.name != "pixels" and isinstance(layer, keras.layers.Layer):
        config["dtype"] = factory.policy
    return type(layer).from_config(config)
