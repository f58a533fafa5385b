"""Rates of dropout and stochastic depth other than a network's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models import registry
from models.layers.dropout import Dropout, StochasticDepth
from models.model_spec import NetworkOptionError


def rates(name, **changed):
    network = registry.get(name).build(num_classes=3, image_size=32, **changed)
    layers = network.keras_model.layers
    dropped = [layer.rate for layer in layers if isinstance(layer, Dropout)]
    branches = [1 - la.keep_probability for la in layers if isinstance(la, StochasticDepth)]
    return network, dropped, np.array(branches)


def test_the_rates_of_a_network_are_set():
    _, dropped, branches = rates("efficientnet_lite0")
    assert dropped == [0.2]
    # Block i of 16 is dropped by 0.2 i / 16: the paper's rule (arXiv:1603.09382, equation 4).
    np.testing.assert_allclose(branches.max(), 0.2 * 14 / 16)
    network, dropped, changed = rates("efficientnet_lite0", dropout_rate=0.5, drop_path_rate=0.3)
    assert dropped == [0.5]
    np.testing.assert_allclose(changed, branches * 1.5)
    images = tf.random.stateless_uniform([4, 32, 32, 3], [1, 2], 0, 255)
    seeds = [tf.constant([5, n]) for n in (1, 2)]
    first, second = (network(images, training=True, seed=seed).logits for seed in seeds)
    assert not np.allclose(first, second)


def test_rates_of_0_drop_nothing():
    network, _, _ = rates("efficientnet_lite0", dropout_rate=0.0, drop_path_rate=0.0)
    images = tf.random.stateless_uniform([2, 32, 32, 3], [1, 2], 0, 255)
    seeds = [tf.constant([5, n]) for n in (1, 2)]
    first, second = (network(images, training=True, seed=seed).logits for seed in seeds)
    np.testing.assert_array_equal(first, second)


def test_the_rate_is_the_share_of_dropped_units():
    """Measured on the layer before the classifier, with the network's own mask."""
    network, _, _ = rates("efficientnet_lite0", dropout_rate=0.75)
    (layer,) = [la for la in network.keras_model.layers if isinstance(la, Dropout)]
    outputs = layer(tf.ones([64, 1280]), training=True).numpy()
    assert np.mean(outputs == 0) == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(outputs[outputs > 0], 4.0)


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("lenet", {"dropout_rate": 0.1}, "lenet has no dropout: leave --dropout_rate out"),
        ("resnet50", {"drop_path_rate": 0.1}, "resnet50 has no stochastic depth: leave --drop_"),
        ("mobilenet_v2_orig", {"dropout_rate": 0.1}, "of TF-Slim, keeps its own dropout"),
    ],
)
def test_a_network_without_it_refuses(name, flags, words):
    with pytest.raises(NetworkOptionError, match=words):
        registry.get(name).build(num_classes=3, image_size=32, **flags)
