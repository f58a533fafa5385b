"""LeNet-5 and the trivial network: the smallest networks, as in tf_cnn_benchmarks."""

from __future__ import annotations

import keras

from models.layers.pixel_normalization import PLUS_MINUS_ONE
from models.model_spec import BuildConfig
from models.network import Network


def build_lenet(config: BuildConfig) -> Network:
    """Builds LeNet-5 (LeCun et al., 1998) with ReLU, 32 and 64 filters and 512 hidden units.

    Variables: lenet/conv{1,2}/conv2d/{kernel,bias}, lenet/hidden/dense/{kernel,bias},
    lenet/head/dense/{kernel,bias}.
    """
    config.check(minimum_image_size=4)
    factory = config.layers()
    images = keras.Input((config.image_size, config.image_size, 3), name="images")
    features = factory.pixels(images, PLUS_MINUS_ONE)
    for scope, filters in (("conv1", 32), ("conv2", 64)):
        features = factory.convolution(f"{scope}.conv2d", filters, 5, use_bias=True)(features)
        features = factory.relu(f"{scope}.relu")(features)
        features = factory.max_pooling(f"{scope}.pool", 2, 2)(features)
    features = factory.flatten("flatten")(features)
    features = factory.hidden("hidden.dense", 512)(features)
    logits = factory.classifier("head.dense", config.num_classes)(features)
    return config.network(images, logits)


def build_trivial(config: BuildConfig) -> Network:
    """Builds a network of three dense layers: all pixels to 1 unit, to 4096 units, to the classes.

    A run with it times everything except the network. It hardly learns: where the single unit is
    off, no gradient passes.

    Variables: trivial/dense{1,2}/dense/{kernel,bias}, trivial/head/dense/{kernel,bias}.
    """
    config.check(minimum_image_size=1)
    factory = config.layers()
    images = keras.Input((config.image_size, config.image_size, 3), name="images")
    features = factory.pixels(images, PLUS_MINUS_ONE)
    features = factory.flatten("flatten")(features)
    for scope, units in (("dense1", 1), ("dense2", 4096)):
        features = factory.hidden(f"{scope}.dense", units)(features)
    logits = factory.classifier("head.dense", config.num_classes)(features)
    return config.network(images, logits)
