"""Options of every builder: layouts and image sizes that it supports or refuses."""

from __future__ import annotations

import pytest

from models import registry


@pytest.mark.parametrize(
    ("name", "image_size", "layer", "shape"),
    [
        ("efficientnet_lite0", 64, "blocks_15.conv2d_1", (320, 2, 2)),
        ("resnet50", 64, "stage4.block3.relu", (2048, 2, 2)),
        ("resnet20", 32, "stage3.block3.relu", (64, 8, 8)),
        pytest.param("densenet40_k12", 32, "head.relu", (448, 8, 8), marks=pytest.mark.slow),
        ("lenet", 28, "conv2.pool", (64, 7, 7)),
        ("trivial", 28, "to_nchw", (3, 28, 28)),
    ],
)
def test_channels_first_builds_with_the_same_variables(name, image_size, layer, shape):
    first, last = (
        registry.get(name).build(num_classes=10, image_size=image_size, data_format=data_format)
        for data_format in ("NCHW", "NHWC")
    )
    assert [(key, variable.shape) for key, variable in first.variables.items()] == [
        (key, variable.shape) for key, variable in last.variables.items()
    ]
    assert first.keras_model.input_shape == (None, image_size, image_size, 3)
    assert first.keras_model.get_layer(layer).output.shape == (None, *shape)


@pytest.mark.parametrize("name", ["keras_resnet50", "mobilenet_v1_relu"])
def test_channels_first_is_refused(name):
    with pytest.raises(registry.NetworkOptionError, match=f"{name} supports NHWC only"):
        registry.get(name).build(num_classes=10, image_size=224, data_format="NCHW")


@pytest.mark.parametrize(
    ("name", "minimum"),
    [
        ("efficientnet_lite0", 32),
        ("resnet20", 8),
        ("densenet40_k12", 8),
        ("vgg_16", 224),
        ("inception_v3", 107),
        ("resnet_v1_50", 32),
        ("keras_inceptionv3", 75),
    ],
)
def test_too_small_images_are_an_error(name, minimum):
    message = f"{name} needs images of at least {minimum} x {minimum}"
    with pytest.raises(registry.NetworkOptionError, match=message):
        registry.get(name).build(num_classes=10, image_size=minimum - 1)
