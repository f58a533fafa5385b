"""A network of a few layers with everything in it that a network can have."""

from __future__ import annotations

import keras

from models.layer_factory import LayerFactory
from models.network import Network, keras_network


def build(
    *, sync_batch_norm: bool = False, layout: str = "NHWC", auxiliary: bool = False
) -> Network:
    factory = LayerFactory("float32", layout, sync_batch_norm, bn_momentum=0.9)
    images = keras.Input((8, 8, 3), name="images")
    features = factory.pixels(images, mean=127.0, std=128.0)
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
    model = keras.Model(images, outputs if auxiliary else outputs[0], name="small")
    return keras_network(model, scope="small", name="small")


def without_randomness(network: Network) -> Network:
    """The same network with every random layer off."""
    for layer in network.keras_model.layers:
        if getattr(layer, "seed_generator", None) is not None:
            layer.seed_generator = None
    return network
