"""The DenseNets of CIFAR-10 without bottlenecks: Huang et al., 2017, sections 3 and 4.2.

Without dropout, as the paper trains on augmented images. Names, batch and learning rate are
tf_cnn_benchmarks'.
"""

from __future__ import annotations

from typing import Any

import keras

from models.cifar10_pixels import PIXEL_MEAN, PIXEL_STD
from models.image_size import check_image_size
from models.keras_network import keras_network
from models.layer_factory import LayerFactory
from models.network import Network

MINIMUM_IMAGE_SIZE = 8
STEM_FILTERS = 16
NUM_BLOCKS = 3


def build(
    *,
    name: str,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
    layers: int,
    growth_rate: int,
) -> Network:
    """Three dense blocks of `layers` convolutions, each of which adds `growth_rate` channels.

    Variables: <name>/stem/conv2d/kernel,
    <name>/block<1..3>/layer<1..>/{batch_norm/gamma ..., conv2d/kernel},
    <name>/transition<1..2>/{batch_norm/gamma ..., conv2d/kernel}, <name>/head/batch_norm/...,
    <name>/head/dense/{kernel,bias}.
    """
    check_image_size(name, image_size, MINIMUM_IMAGE_SIZE)
    factory = LayerFactory(
        dtype=dtype,
        layout=data_format,
        sync_batch_norm=sync_batch_norm,
        # The authors' program: std sqrt(2 / fan_out).
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        bn_momentum=0.9,
        bn_epsilon=1e-5,
    )
    images = keras.Input((image_size, image_size, 3), name="images")
    features = factory.pixels(images, mean=PIXEL_MEAN, std=PIXEL_STD)
    features = factory.convolution("stem.conv2d", STEM_FILTERS, 3)(features)
    channels = STEM_FILTERS
    for block in range(1, NUM_BLOCKS + 1):
        if block > 1:
            scope = f"transition{block - 1}"
            features = _convolution(factory, scope, features, channels, kernel_size=1)
            features = factory.average_pooling(f"{scope}.pool", 2, 2)(features)
        for layer in range(1, layers + 1):
            scope = f"block{block}.layer{layer}"
            added = _convolution(factory, scope, features, growth_rate, kernel_size=3)
            features = factory.concatenate(f"{scope}.concat")([features, added])
            channels += growth_rate
    features = factory.batch_norm("head.batch_norm")(features)
    features = factory.relu("head.relu")(features)
    features = factory.global_average_pooling("head.pool")(features)
    logits = factory.classifier("head.dense", num_classes)(features)
    model = keras.Model(images, logits, name=name)
    return keras_network(model, scope=name, name=name, background_class=background_class)


def _convolution(
    factory: LayerFactory, scope: str, inputs: Any, filters: int, *, kernel_size: int
) -> Any:
    """Batch norm, ReLU, convolution."""
    features = factory.batch_norm(f"{scope}.batch_norm")(inputs)
    features = factory.relu(f"{scope}.relu")(features)
    return factory.convolution(f"{scope}.conv2d", filters, kernel_size)(features)
