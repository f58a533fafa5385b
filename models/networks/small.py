"""LeNet-5 (LeCun et al., 1998) in the shape it has in tf_cnn_benchmarks.

The smallest network of tf_cnn_benchmarks: a run with it times everything but the network.
"""

from __future__ import annotations

import keras

from models.layer_factory import LayerFactory
from models.model_spec import check_image_size
from models.network import Network, keras_network


def build_lenet(
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


def build_trivial(
    *,
    name: str,
    num_classes: int,
    image_size: int,
    dtype: str,
    data_format: str,
    sync_batch_norm: bool,
    background_class: bool,
) -> Network:
    """All pixels to one unit, to 4096 units, to the classes, with ReLU between.

    It is for timing: where its one unit is off, nothing below it learns.

    It has no batch norm and no use for a layout, but takes both like every network. Variables:
    trivial/dense{1,2}/dense/{kernel,bias}, trivial/head/dense/{kernel,bias}.
    """
    check_image_size(name, image_size, 1)
    factory = LayerFactory(dtype=dtype, layout=data_format)
    images = keras.Input((image_size, image_size, 3), name="images")
    features = factory.pixels(images, mean=127.5, std=127.5)
    features = factory.flatten("flatten")(features)
    for scope, units in (("dense1", 1), ("dense2", 4096)):
        features = factory.hidden(f"{scope}.dense", units)(features)
    logits = factory.classifier("head.dense", num_classes)(features)
    model = keras.Model(images, logits, name=name)
    return keras_network(model, scope=name, name=name, background_class=background_class)
