"""What fine-tuning asks of the networks: groups by depth, the classifier, and frozen parts."""

from __future__ import annotations

import re

import pytest
import tensorflow as tf

from models import blocks, registry

SIZES = {"lenet": 28, "resnet20": 32, "mobilenet_v1_relu": 32, "efficientnet_lite0": 32}
SIZES |= {"keras_efficientnetb0": 32, "inception_v3": 107}


@pytest.fixture(scope="module")
def build():
    """Name -> the network with 7 classes, built when it is first asked for."""
    networks = {}

    def built(name):
        if name not in networks:
            networks[name] = registry.get(name).build(num_classes=7, image_size=SIZES[name])
        return networks[name]

    return built


def layers(groups):
    """The first layer of each group, without the network's name."""
    return [group[0].split("/", 1)[1].rpartition("/")[0] for group in groups]


@pytest.mark.parametrize(
    ("name", "first", "count"),
    [
        # Layers outside of blocks, blocks, and the classifier.
        ("lenet", ["conv1/conv2d", "conv2/conv2d", "hidden/dense", "head/dense"], 4),
        ("efficientnet_lite0", ["stem/conv2d", "blocks_0/depthwise_conv2d"], 1 + 16 + 1 + 1),
        ("resnet20", ["stem/conv2d", "stage1/block1/conv1/conv2d"], 1 + 9 + 1),
        ("mobilenet_v1_relu", ["Conv2d_0", "Conv2d_1_depthwise"], 1 + 13 + 1),
        pytest.param("keras_efficientnetb0", ["stem_conv"], 1 + 16 + 1 + 1, marks=pytest.mark.slow),
        pytest.param("inception_v3", ["Conv2d_1a_3x3"], 5 + 11 + 2 + 1, marks=pytest.mark.slow),
    ],
)
def test_groups_are_blocks_and_the_last_is_the_classifier(build, name, first, count):
    network = build(name)
    assert len(network.groups) == count
    assert layers(network.groups)[: len(first)] == first
    assert sorted(sum(network.groups, ())) == sorted(network.trainable)
    outputs = 7 + int(network.background_class)
    is_of_classes = [n for n in network.trainable if network.variables[n].shape[-1] == outputs]
    assert set(network.groups[-1]) == {
        name for name in is_of_classes if re.search("head|[lL]ogits|predictions", name)
    }


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ("conv1/conv/kernel conv1/bn/gamma conv2/conv/kernel", 2),
        ("conv2_block1_1_conv/kernel conv2_block1_1_bn/beta conv2_block2_1_conv/kernel", 2),
        ("block2a_dwconv/depthwise_kernel block2a_bn/gamma block2b_dwconv/kernel", 2),
        ("block_1_expand/kernel block_1_expand_BN/gamma block_12_expand/kernel", 2),
        ("block8_1_conv/kernel block8_10_conv/kernel block8_1_conv/bias", 2),
        ("convnext_tiny_stage_0_block_1_layernorm/gamma convnext_tiny_stage_1_block_1_x/kernel", 2),
        ("conv2d/kernel batch_normalization/beta conv2d_1/kernel batch_normalization_1/beta", 2),
        ("separable_conv_1_bn_normal_left2_7/beta adjust_bn_7/beta normal_conv_1_8/kernel", 2),
        ("reduction_conv_1_stem_1/kernel reduction_bn_1_stem_2/beta", 2),
        ("block1/unit_1/b/conv1/weights block1/unit_1/b/conv1/BatchNorm/beta postnorm/beta", 1),
    ],
)
def test_names_of_other_programs(names, count):
    names = [f"net/{name}" for name in names.split()]
    groups = blocks.groups([*names, "net/top/kernel"], ["net/top/kernel"])
    assert len(groups) == count + 1
    assert sorted(sum(groups, ())) == sorted([*names, "net/top/kernel"])


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v1_relu"])
def test_a_frozen_backbone_is_inference(build, name):
    """No gradient, no batch moments and no dropped branch: only the dropout of the classifier."""
    network = build(name)
    frozen = frozenset(network.variables) - set(network.groups[-1])

    def trace(frozen):
        def gradients(images):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([network.variables[n] for n in network.groups[-1]])
                result = network(images, training=True, seed=tf.constant([1, 2]), frozen=frozen)
                loss = tf.reduce_sum(result.logits)
            assert result.statistics.keys() == set(network.variables) - frozen - set(
                network.trainable
            )
            return tape.gradient(loss, [network.variables[n] for n in network.groups[-1]])

        images = tf.TensorSpec([2, 32, 32, 3], tf.uint8)
        return tf.function(gradients, autograph=False).get_concrete_function(images).graph

    operations = trace(frozen).get_operations()
    norms = [op for op in operations if op.type == "FusedBatchNormV3"]
    assert len(norms) == sum(name.endswith("moving_mean") for name in network.variables)
    assert not any(op.get_attr("is_training") for op in norms)
    # The classifier is a product with a bias: there is nothing else to go back through.
    backward = {op.type for op in operations if re.search("Grad(V3)?$|Backprop", op.type)}
    assert backward <= {"BiasAddGrad", "Conv2DBackpropFilter", "Conv2DBackpropInput"}
    drawn = {op.name.split("/stateless")[0] for op in operations if "RandomUniform" in op.type}
    assert len(drawn) == 1
    assert re.search("(?i)dropout", drawn.pop())
    trained = trace(frozenset()).get_operations()
    assert all(op.get_attr("is_training") for op in trained if op.type == "FusedBatchNormV3")
