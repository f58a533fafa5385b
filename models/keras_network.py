"""A keras.Model as a Network: names its variables after its layers."""

from __future__ import annotations

import keras

from models.network import Network, kernels


def keras_network(
    model: keras.Model, *, scope: str, name: str, background_class: bool = False
) -> Network:
    """Wraps a built model.

    Keras allows no slash in a layer's name, so a dot stands for it: the kernel of layer
    "blocks_0.conv2d" is "<scope>/blocks_0/conv2d/kernel" in a checkpoint.
    """
    named = {
        f"{scope}/{layer.name.replace('.', '/')}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
    }
    if len(named) != len(model.weights):
        raise ValueError(f"model {name!r} has variables that share a name")
    trainable = tuple(key for key, variable in named.items() if variable.trainable)
    return Network(
        name=name,
        variables={key: variable.value for key, variable in named.items()},
        trainable=trainable,
        decayed=kernels(trainable),
        forward=lambda images, training: model(images, training=training),
        statistic_names={
            id(variable): key for key, variable in named.items() if not variable.trainable
        },
        background_class=background_class,
        keras_model=model,
    )
