"""A network built for images of another size, with the variables of the first."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.model_spec import NetworkOptionError


def images_of(size):
    return np.random.default_rng(size).integers(0, 256, (2, size, size, 3)).astype(np.uint8)


def results(network, size):
    """Logits in training and in inference, the new statistics, and the gradients, by name."""
    seed = tf.constant([3, 5], tf.int32)
    trained = [network.variables[name] for name in network.trainable]
    with tf.GradientTape() as tape:
        output = network(images_of(size), training=True, seed=seed)
        loss = tf.reduce_sum(output.logits**2)
    gradients = dict(zip(network.trainable, tape.gradient(loss, trained), strict=True))
    answers = network(images_of(size), training=False).logits
    folded = network.for_inference()
    folded.update()
    return [output.logits, answers, folded(images_of(size)), output.statistics, gradients]


def check(name, first, second):
    """Every result is that of a network of its own that was built for the second size."""
    spec = registry.get(name)
    network = spec.build(num_classes=5, image_size=first)
    other = spec.build(num_classes=5, image_size=second, variables=network.variables)
    assert other.variables.keys() == network.variables.keys()
    assert all(other.variables[name] is network.variables[name] for name in network.variables)
    assert (other.trainable, other.groups) == (network.trainable, network.groups)
    reference = spec.build(num_classes=5, image_size=second)
    random = np.random.default_rng(1)
    for variable_name, variable in network.variables.items():
        value = variable.numpy() + random.uniform(0, 0.1, variable.shape).astype(np.float32)
        variable.assign(value)
        reference.variables[variable_name].assign(value)
    got, wanted = results(other, second), results(reference, second)
    tf.nest.map_structure(np.testing.assert_array_equal, got, wanted)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("resnet20", 8, 12),
        pytest.param("mobilenet_v1_relu", 64, 32, marks=pytest.mark.slow),
        pytest.param("efficientnet_lite0", 64, 48, marks=pytest.mark.slow),
        # Keras pads before a stride by a rule that depends on whether the size is even.
        pytest.param("keras_efficientnetb0", 64, 48, marks=pytest.mark.slow),
        pytest.param("resnet50", 64, 80, marks=pytest.mark.slow),
        pytest.param("inception_v3", 139, 107, marks=pytest.mark.slow),
    ],
)
def test_a_network_of_another_size_shares_the_variables(name, first, second):
    check(name, first, second)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet20", 48),
        pytest.param("efficientnet_lite0", 96, marks=pytest.mark.slow),
        pytest.param("resnet50", 96, marks=pytest.mark.slow),
    ],
)
def test_a_larger_image_is_the_mean_of_the_classifier_over_all_positions(name, size):
    """Test-time pooling needs no switch: everything before the classifier is convolutional."""
    network = registry.get(name).build(num_classes=5, image_size=size)
    model = network.keras_model
    kernel, bias = (network.variables[name].numpy() for name in network.groups[-1])
    pools = [x for x in model.layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    features = keras.Model(model.inputs, pools[-1].input)(images_of(size)).numpy()
    assert features.shape[1] * features.shape[2] > 4  # positions
    expected = (features @ kernel + bias).mean(axis=(1, 2))
    found = network(images_of(size), training=False).logits
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "first", "second", "line"),
    [
        ("lenet", 28, 32, r"lenet/hidden/dense/kernel has the shape \[4096, 512\] for 32 pixels"),
        ("trivial", 28, 32, r"trivial/dense1/dense/kernel has the shape \[3072, 1\] for 32 pixels"),
        pytest.param(
            *("keras_vgg16", 64, 96, r"keras_vgg16/fc1/kernel has the shape \[4608, 4096\] for 96"),
            marks=pytest.mark.slow,
        ),
        ("resnet20", 8, 7, "needs images of at least 8 x 8 pixels"),
    ],
)
def test_weights_that_depend_on_the_size_are_refused_in_one_line(name, first, second, line):
    spec = registry.get(name)
    network = spec.build(num_classes=5, image_size=first)
    with pytest.raises(NetworkOptionError, match=line) as error:
        spec.build(num_classes=5, image_size=second, variables=network.variables)
    assert "\n" not in str(error.value)
