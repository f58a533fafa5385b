"""A network of a few layers, with every kind of layer and head that networks have."""

from __future__ import annotations

import keras

from models.model_spec import BuildConfig
from models.network import Network
from models.networks.efficientnet_lite import PIXEL_RANGE


def build(
    *, sync_batch_norm: bool = False, layout: str = "NHWC", auxiliary: bool = False
) -> Network:
    config = BuildConfig("small", 4, 8, data_format=layout, sync_batch_norm=sync_batch_norm)
    factory = config.layers(bn_momentum=0.9)
    images = keras.Input((8, 8, 3), name="images")
    features = factory.pixels(images, PIXEL_RANGE)
    features = factory.convolution("stem.conv2d", 8, 3, strides=2)(features)
    features = factory.batch_norm("stem.batch_norm")(features)
    stem = factory.relu("stem.relu")(features)
    features = factory.depthwise_convolution("block.depthwise_conv2d", 3)(stem)
    features = factory.batch_norm("block.batch_norm")(features)
    features = factory.stochastic_depth("block.drop", 0.5)(features)
    features = factory.add("block.add")([features, stem])
    features = factory.global_average_pooling("head.pool")(features)
    features = factory.dropout("head.dropout", 0.5)(features)
    outputs = [factory.classifier("head.dense", 4)(features)]
    if auxiliary:
        outputs.append(factory.classifier("auxiliary.dense", 4)(features))
    return config.network(images, outputs if auxiliary else outputs[0])


def without_randomness(network: Network) -> Network:
    """Switches off every random layer of the network."""
    for layer in network.keras_model.layers:
        if getattr(layer, "seed_generator", None) is not None:
            layer.seed_generator = None
    return network
