"""LeNet-5 (LeCun et al., 1998) in the shape it has in tf_cnn_benchmarks."""

from __future__ import annotations

import keras

from models.image_size import check_image_size
from models.keras_network import keras_network
from models.layer_factory import LayerFactory
from models.network import Network


def build(
    *,
    name: str,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
) -> Network:
    """Two 5x5 convolutions with pooling and a layer of 512 units; any image of 4 pixels or more.

    It has no batch norm, so `sync_batch_norm` changes nothing. Variables:
    lenet/conv{1,2}/conv2d/{kernel,bias}, lenet/hidden/dense/{kernel,bias},
    lenet/head/dense/{kernel,bias}.
    """
    check_image_size(name, image_size, 4)
    factory = LayerFactory(dtype=dtype, layout=data_format)
    images = keras.Input((image_size, image_size, 3), name="images")
    features = factory.pixels(images, mean=127.5, std=127.5)
    for scope, filters in (("conv1", 32), ("conv2", 64)):
        features = factory.convolution(f"{scope}.conv2d", filters, 5, use_bias=True)(features)
        features = factory.relu(f"{scope}.relu")(features)
        features = factory.max_pooling(f"{scope}.pool", 2, 2)(features)
    features = factory.flatten("flatten")(features)
    features = factory.hidden("hidden.dense", 512)(features)
    logits = factory.classifier("head.dense", num_classes)(features)
    model = keras.Model(images, logits, name=name)
    return keras_network(model, scope=name, name=name, background_class=background_class)
