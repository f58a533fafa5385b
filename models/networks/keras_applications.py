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
from models.layers.pixel_normalization import IMAGENET_CENTER, IMAGENET_MEAN, IMAGENET_STD
from models.layers.residual import LayerScale
from models.model_spec import NetworkOptionError, check_image_size
from models.network import Network, keras_network
from models.specs import CAFFE, HALF_RANGE, PLUS_MINUS_ONE, TORCH

# Mean and standard deviation, in the order of the image's channels, RGB.
PIXELS: dict[str, tuple[Any, Any]] = {
    CAFFE: (IMAGENET_CENTER, 1.0),
    TORCH: (IMAGENET_MEAN, IMAGENET_STD),
    PLUS_MINUS_ONE: (127.5, 127.5),
    HALF_RANGE: (128.0, 128.0),
}
# These normalize pixels inside the network unless they are told not to.
WITH_PREPROCESSING = ("ConvNeXt", "EfficientNetV2", "MobileNetV3")


def build(
    *,
    name: str,
    application: str,
    pixels: str,
    minimum_image_size: int,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
) -> Network:
    """`keras.applications.<application>` with logits computed in float32 and fresh weights.

    Variables are <name>/<Keras' layer>/<Keras' variable>. `keras_model` takes pixels in 0..255 and
    normalizes them.
    """
    check_image_size(name, image_size, minimum_image_size)
    if data_format != "NHWC":
        raise NetworkOptionError(
            f"{name} comes from keras.applications and is NHWC only: leave data_format out"
        )
    factory = LayerFactory(dtype=dtype, layout=data_format, sync_batch_norm=sync_batch_norm)
    # In a thread of its own, outside the strategy's scope: the variables of the original are
    # thrown away, and need no copy on every tower.
    with ThreadPoolExecutor(1) as executor:
        original = executor.submit(
            _original, application, pixels, num_classes, image_size, factory
        ).result()
    head, float32_factory = _head(original), dataclasses.replace(factory, dtype="float32")

    def clone_layer(layer: Any) -> Any:
        return _clone(layer, float32_factory if layer.name in head else factory)

    # ConvNeXt's stem and down-sampling are models of their own inside of it.
    clone: Any = keras.models.clone_model(
        original, clone_function=clone_layer, call_function=_call, recursive=True
    )
    # The original takes a list of one tensor of images.
    model: Any = keras.Model(clone.inputs[0], clone.outputs[0], name=name)
    return keras_network(model, scope=name, name=name, background_class=background_class)


def _original(
    application: str, pixels: str, num_classes: int, image_size: int, factory: LayerFactory
) -> keras.Model:
    create: Any = getattr(keras.applications, application)
    mean, std = PIXELS[pixels]
    options: dict[str, Any] = {}
    if application.startswith(WITH_PREPROCESSING):
        options["include_preprocessing"] = False
    with tf.device("CPU:0"):
        images = keras.Input((image_size, image_size, 3), name="images")
        normalized = factory.pixels(images, mean=mean, std=std)
        if pixels == CAFFE:
            normalized = keras.ops.flip(normalized, axis=-1)
        return create(
            input_tensor=normalized,
            input_shape=(image_size, image_size, 3),
            weights=None,
            classes=num_classes,
            classifier_activation=None,
            **options,
        )


def _head(model: keras.Model) -> frozenset[str]:
    """The layer that makes the logits, dense or a 1x1 convolution, and what only reshapes them."""
    last = max(index for index, layer in enumerate(model.layers) if layer.weights)
    return frozenset(layer.name for layer in model.layers[last:])


def _call(layer: Any, *arguments: Any, mask: Any = None, **options: Any) -> Any:
    """Calls a layer without the mask that Keras' own batch norm takes: images have none."""
    return layer(*arguments, **options)


def _clone(layer: Any, factory: LayerFactory) -> Any:
    """The layer anew in the network's dtype, or what stands for it here."""
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
        # EfficientNet drops whole branches so.
        return StochasticDepth(1.0 - layer.rate, **named)
    if isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
        # EfficientNet normalizes inside; the pixels are already normalized.
        return keras.layers.Identity(**named)
    if isinstance(layer, KerasLayerScale):
        return LayerScale(layer.init_values, **named)
    config = layer.get_config()
    # Plain operations, such as an addition, have no dtype of their own.
    if layer.name != "pixels" and isinstance(layer, keras.layers.Layer):
        config["dtype"] = factory.policy
    return type(layer).from_config(config)
