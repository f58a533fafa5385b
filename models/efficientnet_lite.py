"""EfficientNet-Lite 0 to 4: for the engine (`build`) and as plain Keras models."""

from __future__ import annotations

import keras

from models import efficientnet_lite_layers as layers
from models.efficientnet_lite_keras import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    EfficientNetLite3,
    EfficientNetLite4,
    decode_predictions,
    get_preprocessing_layer,
    preprocess_input,
)
from models.image_size import check_image_size
from models.keras_network import keras_network
from models.network import Network

__all__ = [
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "EfficientNetLite3",
    "EfficientNetLite4",
    "build",
    "decode_predictions",
    "get_preprocessing_layer",
    "preprocess_input",
]


def build(
    *,
    name: str,
    variant: int,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
) -> Network:
    """The network of variant 0 to 4; its checkpoint scope is "efficientnet-lite<variant>"."""
    check_image_size(name, image_size, layers.MINIMUM_IMAGE_SIZE)
    factory = layers.layer_factory(dtype, data_format, sync_batch_norm=sync_batch_norm)
    images = keras.Input((image_size, image_size, 3), name="images")
    pixels = factory.pixels(images, mean=layers.PIXEL_MEAN, std=layers.PIXEL_STD)
    features = layers.features(factory, variant, pixels)
    logits = layers.classification(factory, variant, features, num_classes)
    scope = layers.scope(variant)
    model = keras.Model(images, logits, name=scope)
    return keras_network(model, scope=scope, name=name, background_class=background_class)
