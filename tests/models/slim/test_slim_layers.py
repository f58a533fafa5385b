"""The layers that replace slim's, alone and in a network."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_slim
from tf_slim.nets import resnet_v2
from tf_slim.ops.arg_scope import arg_scope

from models.layers.pixel_normalization import IMAGENET_CENTERED, PLUS_MINUS_ONE
from models.model_spec import BuildConfig
from models.network import Network, kernels
from models.slim import arg_scopes, layers
from models.slim.adapter import slim_network
from tests.models import towers

IMAGES = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), np.uint8)
SEED = (5, 6)


def build(
    function, *, dtype: str = "float32", pixel_range=PLUS_MINUS_ONE, image_size: int = 8
) -> Network:
    config = BuildConfig("small", num_classes=3, image_size=image_size, dtype=dtype)
    return slim_network(config, pixel_range, function)


def small(images, is_training, synchronized=False):
    """Computes a convolution with batch norm, a depthwise one, dropout and a classifier."""
    with (
        tf.compat.v1.variable_scope("small"),
        arg_scopes.mobilenet(is_training, synchronized, tf.nn.relu6),
    ):
        features = layers.conv2d(images, 4, [3, 3], stride=2, scope="conv")
        features = layers.depthwise_conv2d(features, 3, scope="depthwise")
        features = layers.dropout(features, 0.5, scope="dropout")
        return layers.conv2d(
            features, 3, [1, 1], activation_fn=None, normalizer_fn=None, scope="logits"
        )


def normalize_only(images, is_training):
    with arg_scope([layers.batch_norm], is_training=is_training, decay=0.9, epsilon=0.01):
        return layers.batch_norm(images, scale=True, scope="norm")


def test_batch_norm_follows_its_definition():
    network = build(normalize_only)
    assert list(network.variables) == [
        f"norm/{name}" for name in ("beta", "gamma", "moving_mean", "moving_variance")
    ]
    generator = np.random.default_rng(2)
    for variable in network.variables.values():
        variable.assign(generator.uniform(0.5, 2.0, 3))
    beta, gamma, moving_mean, moving_variance = (
        variable.numpy().astype(np.float64) for variable in network.variables.values()
    )
    pixels = IMAGES / 127.5 - 1.0
    result = network(IMAGES, training=True, seed=tf.constant(SEED))
    mean, variance = pixels.mean((0, 1, 2)), pixels.var((0, 1, 2))
    normalized = (pixels - mean) / np.sqrt(variance + 0.01) * gamma + beta
    np.testing.assert_allclose(result.logits, normalized.mean((1, 2)), rtol=1e-4, atol=1e-6)
    count = 6 * 8 * 8
    np.testing.assert_allclose(
        result.statistics["norm/moving_mean"], 0.9 * moving_mean + 0.1 * mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        result.statistics["norm/moving_variance"],
        0.9 * moving_variance + 0.1 * variance * count / (count - 1),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(network.variables["norm/moving_mean"], moving_mean)
    evaluated = network(IMAGES, training=False)
    normalized = (pixels - moving_mean) / np.sqrt(moving_variance + 0.01) * gamma + beta
    np.testing.assert_allclose(evaluated.logits, normalized.mean((1, 2)), rtol=1e-4, atol=1e-6)
    assert evaluated.statistics == {}


def test_families_have_tf_imagenets_constants():
    norms = (
        arg_scopes.INCEPTION_BATCH_NORM,
        arg_scopes.MOBILENET_BATCH_NORM,
        arg_scopes.RESNET_BATCH_NORM,
    )
    assert [(norm.decay, norm.epsilon, norm.scale) for norm in norms] == [
        (0.9997, 1e-3, False),
        (0.9997, 1e-3, True),
        (0.997, 1e-5, True),
    ]


def test_centered_pixels_lose_the_means_and_keep_their_scale():
    network = build(lambda images, _: images, pixel_range=IMAGENET_CENTERED)
    logits = network(np.full((1, 8, 8, 3), 200, np.uint8), training=False).logits
    np.testing.assert_allclose(logits[0], [200 - 123.68, 200 - 116.779, 200 - 103.939], rtol=1e-5)


def dropped(keep_probability: float, seed: tuple[int, int], training: bool = True) -> np.ndarray:
    def network(images, is_training):
        with arg_scope([layers.dropout], is_training=is_training):
            kept = layers.dropout(tf.ones_like(images), keep_probability, scope="drop")
        return tf.reshape(kept, [tf.shape(kept)[0], -1])

    pixels = np.zeros((4, 64, 64, 3), np.uint8)
    return build(network, image_size=64)(pixels, training=training, seed=tf.constant(seed)).logits


def test_dropout_keeps_and_scales():
    values = np.asarray(dropped(0.8, SEED))
    assert set(np.unique(values)) == {0.0, np.float32(1.25)}
    # 49,152 draws: the share is within 4 standard deviations, 0.0072, of 0.8.
    assert np.mean(values > 0) == pytest.approx(0.8, abs=0.0072)
    np.testing.assert_array_equal(dropped(0.8, SEED, training=False), np.ones((4, 64 * 64 * 3)))


def test_the_seed_decides_the_mask():
    np.testing.assert_array_equal(dropped(0.5, SEED), dropped(0.5, SEED))
    assert np.mean(dropped(0.5, SEED) != dropped(0.5, (5, 7))) == pytest.approx(0.5, abs=0.01)


def test_training_with_dropout_needs_a_seed():
    with pytest.raises(ValueError, match="'small/dropout' is random in training"):
        build(small)(IMAGES, training=True)


def test_dropout_outside_of_a_network_is_an_error():
    with pytest.raises(RuntimeError, match="there is no forward pass"):
        layers.dropout(tf.ones([2, 3]), 0.5)


def test_every_call_uses_the_variables_of_the_build():
    network = build(small)
    before = {key: id(variable) for key, variable in network.variables.items()}

    @tf.function(autograph=False)
    def twice(seed):
        first = network(IMAGES, training=True, seed=seed)
        return first.logits, network(IMAGES, training=True, seed=seed).logits

    first, second = twice(tf.constant(SEED))
    eager = network(IMAGES, training=True, seed=tf.constant(SEED))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, eager.logits, rtol=1e-5, atol=1e-6)
    assert {key: id(variable) for key, variable in network.variables.items()} == before
    assert network.trainable == tuple(key for key in before if "moving" not in key)


def test_default_scope_names_do_not_count_up_between_calls():
    block = resnet_v2.resnet_v2_block("block1", base_depth=2, num_units=2, stride=1)

    def network(images, is_training):
        with arg_scopes.resnet(is_training, synchronized=False):
            return resnet_v2.resnet_v2(images, [block], 3, is_training, scope="net")[0]

    built = build(network)
    assert "net/block1/unit_2/bottleneck_v2/conv1/weights" in built.variables

    @tf.function(autograph=False)
    def twice():
        return [built(IMAGES, training=False).logits for _ in range(2)]

    first, second = twice()
    np.testing.assert_array_equal(first, second)


def test_max_pooling():
    network = build(lambda images, _: layers.max_pool2d(images, [3, 3], scope="pool"))
    windows = IMAGES[:, :7, :7] / 127.5 - 1.0
    largest = [
        windows[:, row : row + 3, column : column + 3].max((1, 2))
        for row in (0, 2, 4)
        for column in (0, 2, 4)
    ]
    logits = network(IMAGES, training=False).logits
    np.testing.assert_allclose(logits, np.mean(largest, axis=0), rtol=1e-5)


def test_calls_leave_nothing_in_the_graph():
    def network(images, is_training):
        # As alexnet, overfeat and vgg do.
        collecting = [layers.conv2d, layers.max_pool2d]
        with arg_scopes.plain(), arg_scope(collecting, outputs_collections="outputs"):
            return layers.conv2d(layers.max_pool2d(images, [2, 2]), 2, [1, 1], scope="conv")

    built = build(network)
    built(IMAGES, training=False)
    assert tf.compat.v1.get_default_graph().get_collection("outputs") == []


def test_bfloat16_computes_in_it_and_keeps_float32_variables():
    seen = []

    def network(images, is_training):
        logits = small(images, is_training)
        seen.append((images.dtype, logits.dtype))
        return logits

    built = build(network, dtype="bfloat16")
    with tf.GradientTape() as tape:
        result = built(IMAGES, training=True, seed=tf.constant(SEED))
        loss = tf.reduce_sum(result.logits**2)
    assert set(seen) == {(tf.bfloat16, tf.float32)}
    assert result.logits.dtype == tf.float32
    assert {variable.dtype for variable in built.variables.values()} == {tf.float32}
    gradients = tape.gradient(loss, [built.variables[name] for name in built.trainable])
    assert {gradient.dtype for gradient in gradients} == {tf.float32}


def test_compiled_equals_plain():
    network = build(small)

    def step(seed):
        result = network(IMAGES, training=True, seed=seed)
        return result.logits, result.statistics

    plain = tf.function(step, autograph=False)(tf.constant(SEED))
    compiled = tf.function(step, autograph=False, jit_compile=True)(tf.constant(SEED))
    for actual, wanted in zip(tf.nest.flatten(compiled), tf.nest.flatten(plain), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)


def test_towers_see_their_own_statistics_and_masks():
    strategy = towers.mirrored(2)
    with strategy.scope():
        network = build(small)
    single = build(small)
    for name, variable in single.variables.items():
        variable.assign(network.variables[name].values[0])
    assert all(len(variable.values) == 2 for variable in network.variables.values())

    def tower(images, seed):
        result = network(images, training=True, seed=tf.reshape(seed, [2]))
        return [result.logits, *result.statistics.values()]

    seeds = [[5, 0], [5, 1]]
    many = towers.run(
        strategy, tower, towers.split(strategy, IMAGES), towers.split(strategy, seeds)
    )
    for index, values in enumerate(many):
        part = IMAGES[3 * index : 3 * index + 3]
        expected = single(part, training=True, seed=tf.constant(seeds[index]))
        for actual, wanted in zip(
            values, [expected.logits, *expected.statistics.values()], strict=True
        ):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-6)


def test_synchronized_towers_equal_one_big_batch():
    def without_dropout(images, is_training, synchronized=True):
        with arg_scopes.inception(is_training, synchronized):
            return layers.conv2d(images, 4, [3, 3], scope="conv")

    strategy = towers.mirrored(2)
    with strategy.scope():
        network = build(without_dropout)
    single = build(without_dropout)
    for name, variable in single.variables.items():
        variable.assign(network.variables[name].values[0])

    def tower(images):
        result = network(images, training=True)
        return [result.logits, *result.statistics.values()]

    many = towers.run(strategy, tower, towers.split(strategy, IMAGES))
    expected = single(IMAGES, training=True)
    logits = np.concatenate([values[0] for values in many])
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-4, atol=1e-6)
    for values in many:
        for actual, wanted in zip(values[1:], expected.statistics.values(), strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-6)


def test_decay_goes_by_the_last_part_of_a_name():
    decayed = {"a/weights", "a/depthwise_weights", "a/pointwise_weights"}
    others = {"a/biases", "weights/beta", "a/BatchNorm/gamma"}
    assert kernels(sorted(decayed | others)) == decayed


def test_other_users_of_tf_slim_keep_its_own_layers():
    assert resnet_v2.layers is layers
    assert tf_slim.layers.batch_norm is not layers.batch_norm
    assert tf_slim.layers.dropout is not layers.dropout
