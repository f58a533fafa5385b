"""One network of each family, as float TFLite and ONNX: the outputs of Keras or TF-Slim."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import tensorflow as tf

from exporters import check, exporting
from exporters.plan import Plan
from inference.artifacts import open_artifact

pytest.importorskip("onnx")

# At the smallest size that tells: the operations are those of any size.
FAMILIES = {
    "densenet40_k12": 32,
    "googlenet": 64,
    "inception_v3": 107,
    "keras_convnexttiny": 64,
    "keras_efficientnetb0": 64,
    "keras_mobilenetv3small": 64,
    "keras_nasnetmobile": 64,
    "keras_resnet50": 64,
    "keras_resnet50v2": 64,
    "mobilenet_v2_orig": 64,
    "resnet20": 32,
    "resnet50": 64,
    "resnet_v2_50": 64,
    "trivial": 32,
    "vgg_a": 224,
}


@pytest.fixture(autouse=True)
def released_memory():
    """Frees the copies of the weights, which refer to each other, before the next network."""
    yield
    gc.collect()


@pytest.mark.slow
@pytest.mark.parametrize("model", FAMILIES)
def test_a_network_of_each_family_answers_the_same(model, random_source, tmp_path):
    size = FAMILIES[model]
    source = random_source(model, size)
    images = check.images(source.signature, source.data, None).pixels[:4]
    scale_logits(source.classifier.network, images)
    wanted = source.classifier.probabilities(images)
    # Answers that are all alike, or certain, would hide a wrong network.
    assert np.ptp(wanted, axis=0).max() > 1e-3
    assert wanted.max() < 0.999
    plan = Plan(tflite=tmp_path / "a.tflite", onnx=tmp_path / "a.onnx")
    exporting.export(source, plan, lambda line: None)
    for path in (plan.tflite, plan.onnx):
        found = open_artifact(path).probabilities(images)
        assert np.abs(found - wanted).max() <= 1e-5


def scale_logits(network, images) -> None:
    """Scales the last layer, so that the logits of the images are of size 1."""
    names = [name for name, variable in network.variables.items() if len(variable.shape) > 1]
    kernel = network.variables[names[-1]]
    logits = network(tf.constant(images), training=False).logits.numpy()
    kernel.assign(kernel / np.std(logits))
