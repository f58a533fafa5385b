from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.forward_pass import forward_pass
from models.layers import sync_batch_norm
from models.layers.batch_norm import FusedBatchNorm
from tests.models import towers

SHAPE = (8, 3, 5, 4)


@pytest.fixture(params=["fused", "closed form"])
def gradient(request, monkeypatch):
    """The gradient on a CPU, and the one on a GPU."""
    missing = request.param == "closed form"
    monkeypatch.setattr(sync_batch_norm, "_fused_gradient_is_missing", lambda: missing)


def layer_under(strategy, *, synchronized=True, dtype="float32", first=False) -> FusedBatchNorm:
    with strategy.scope():
        layer = FusedBatchNorm(
            0.9,
            1e-3,
            synchronized=synchronized,
            dtype=dtype,
            data_format="channels_first" if first else "channels_last",
        )
        layer.build((None, 4, 3, 5) if first else (None, 3, 5, 4))
    generator = np.random.default_rng(11)
    for variable in layer.weights:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return layer


def step(layer):
    """Returns a function of one tower: outputs, gradients of inputs, gamma, beta; statistics."""

    def tower(inputs, d_outputs):
        with forward_pass(None) as current, tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        sources = [inputs, layer.gamma.value, layer.beta.value]
        d_inputs, d_gamma, d_beta = tape.gradient(outputs, sources, output_gradients=d_outputs)
        mean = current.statistics[id(layer.moving_mean)]
        variance = current.statistics[id(layer.moving_variance)]
        return [outputs, d_inputs, d_gamma, d_beta, mean, variance]

    return tower


def one_batch_and_towers(strategy, inputs, d_outputs, **options):
    """Runs a batch on one tower, without synchronization, and split over the towers."""
    single = tf.distribute.get_strategy()
    one = step(layer_under(single, synchronized=False, **options))(inputs, d_outputs)
    many = towers.run(
        strategy,
        step(layer_under(strategy, **options)),
        towers.split(strategy, inputs),
        towers.split(strategy, d_outputs),
    )
    return one, many


def assert_equal(one, many, *, rtol=1e-4, atol=1e-5):
    outputs, d_inputs, d_gamma, d_beta, mean, variance = one
    joined = [tf.concat([tower[index] for tower in many], axis=0) for index in (0, 1)]
    summed = [tf.add_n([tower[index] for tower in many]) for index in (2, 3)]
    wanted = (outputs, d_inputs, d_gamma, d_beta)
    for actual, expected in zip((*joined, *summed), wanted, strict=True):
        np.testing.assert_allclose(
            tf.cast(actual, tf.float32), tf.cast(expected, tf.float32), rtol=rtol, atol=atol
        )
    for tower in many:
        np.testing.assert_allclose(tower[4], mean, rtol=rtol, atol=atol)
        np.testing.assert_allclose(tower[5], variance, rtol=rtol, atol=atol)


def random_batch(mean_step: float = 1.0):
    """Returns a batch in which every example has its own mean, so that the towers differ."""
    generator = np.random.default_rng(2)
    inputs = generator.normal(size=SHAPE) + mean_step * np.arange(SHAPE[0])[:, None, None, None]
    d_outputs = generator.normal(size=SHAPE)
    return tf.constant(inputs, tf.float32), tf.constant(d_outputs, tf.float32)


@pytest.mark.usefixtures("gradient")
@pytest.mark.parametrize("num_towers", [2, 4])
def test_towers_equal_one_big_batch(num_towers):
    one, many = one_batch_and_towers(towers.mirrored(num_towers), *random_batch())
    assert_equal(one, many)


def test_without_synchronization_towers_differ_from_one_big_batch():
    strategy = towers.mirrored(2)
    inputs, d_outputs = random_batch()
    layer = layer_under(strategy, synchronized=False)
    many = towers.run(
        strategy, step(layer), towers.split(strategy, inputs), towers.split(strategy, d_outputs)
    )
    one = step(layer_under(tf.distribute.get_strategy()))(inputs, d_outputs)
    with pytest.raises(AssertionError):
        assert_equal(one, many)


def test_channels_first_towers_equal_one_big_batch(monkeypatch):
    """Of GPUs alone; whether a CPU's kernel takes this layout depends on its instructions."""
    monkeypatch.setattr(sync_batch_norm, "_fused_gradient_is_missing", lambda: True)
    inputs, d_outputs = (tf.transpose(x, (0, 3, 1, 2)) for x in random_batch())
    one, many = one_batch_and_towers(towers.mirrored(2), inputs, d_outputs, first=True)
    assert_equal(one, many)


@pytest.mark.usefixtures("gradient")
def test_bfloat16_towers_equal_one_big_batch():
    inputs, d_outputs = (tf.cast(x, tf.bfloat16) for x in random_batch())
    one, many = one_batch_and_towers(towers.mirrored(2), inputs, d_outputs, dtype="mixed_bfloat16")
    # bfloat16 has 8 significant bits; statistics and parameter gradients are float32 sums of it.
    assert_equal(one, many, rtol=2e-2, atol=2e-2)


def test_central_storage_towers_equal_one_big_batch():
    strategy = towers.central_storage(2)
    one, many = one_batch_and_towers(strategy, *random_batch())
    assert_equal(one, many)


def test_a_large_mean_does_not_cancel_the_variance():
    strategy = towers.mirrored(2)
    inputs, d_outputs = random_batch(mean_step=0.0)
    inputs = inputs + 3000.0
    layer = layer_under(strategy)
    layer.moving_mean.assign(np.full(4, 2990.0))
    many = towers.run(
        strategy, step(layer), towers.split(strategy, inputs), towers.split(strategy, d_outputs)
    )
    exact = inputs.numpy().astype(np.float64).var((0, 1, 2), ddof=1)
    before = layer.moving_variance.numpy()
    # E[x^2] - E[x]^2 in float32 would be off by about 1: 3000^2 has a spacing of 1.
    np.testing.assert_allclose(many[0][5], 0.9 * before + 0.1 * exact, rtol=1e-4)


def test_one_tower_takes_the_plain_path():
    inputs, d_outputs = random_batch()
    single = tf.distribute.get_strategy()
    plain = step(layer_under(single, synchronized=False))(inputs, d_outputs)
    synchronized = step(layer_under(single))(inputs, d_outputs)
    for actual, wanted in zip(synchronized, plain, strict=True):
        np.testing.assert_array_equal(actual, wanted)
