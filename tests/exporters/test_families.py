"""One network of each family, as float TFLite and ONNX: the outputs of Keras or TF-Slim."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from exporters import check, exporting
from exporters.plan import Plan
from inference.artifacts import open_artifact
from inference.classifier import Classifier
from models.network import Network
from tests.exporters.conftest import random_network
from tests.models.peak_memory import peak_bytes

pytest.importorskip("onnx")

# Each at the smallest size that it takes: the operations are those of any size.
FAMILIES = {
    "trivial": 32,
    "lenet": 28,
    "resnet50": 64,
    "efficientnet_lite0": 64,
    "resnet20": 32,
    "densenet40_k12": 32,
    "alexnet_v2": 195,
    "vgg_a": 224,
    "googlenet": 64,
    "inception_v3": 107,
    "inception_v4": 107,
    "resnet_v1_50": 64,
    "resnet_v2_50": 64,
    "mobilenet_v1_relu": 64,
    "mobilenet_v2_orig": 64,
    "keras_convnexttiny": 64,
    "keras_densenet121": 64,
    "keras_efficientnetb0": 64,
    "keras_efficientnetv2b0": 64,
    "keras_mobilenetv3small": 64,
    "keras_nasnetmobile": 64,
    "keras_resnet50": 64,
    "keras_resnet50v2": 64,
    "keras_xception": 71,
}
GIBIBYTE = 2**30
# With random weights it answers up to 2.7e-5 otherwise after a change of their last places alone:
# no two correct programs agree within 1e-5. Its limit is twice that change, measured with it.
SENSITIVE = frozenset({"keras_efficientnetv2b0"})


@dataclass(frozen=True)
class Answers:
    """Probabilities [4, classes] of the network and of both files; the memory it took, in bytes.

    `rounding` is the largest change of the network's when weights change in their last places; 0
    where it was not measured.
    """

    network: np.ndarray
    tflite: np.ndarray
    onnx: np.ndarray
    peak_memory: int
    rounding: float = 0.0


@pytest.mark.slow
@pytest.mark.parametrize("model", FAMILIES)
def test_a_network_of_each_family_answers_the_same(model, tmp_path, monkeypatch):
    # glibc otherwise keeps large blocks that were freed.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    # In a process of its own, because TensorFlow keeps the graphs of earlier networks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        found = pool.submit(answers, model, FAMILIES[model], tmp_path).result()
    # Answers that are all alike, or certain, would hide a wrong network.
    assert np.ptp(found.network, axis=0).max() > 1e-3
    assert found.network.max() < 0.999
    limit = 2 * found.rounding if model in SENSITIVE else 1e-5
    assert limit <= 1e-4
    assert np.abs(found.tflite - found.network).max() <= limit
    assert np.abs(found.onnx - found.network).max() <= limit
    print(f"{model}: {found.peak_memory / GIBIBYTE:.1f} GiB")


def answers(model: str, image_size: int, directory: Path) -> Answers:
    """Exports a network with random weights, and runs it and its files on four images."""
    source = random_network(directory, model, image_size)
    images = check.images(source.signature, source.data, None).pixels[:4]
    scale_logits(source.classifier.network, images)
    wanted = source.classifier.probabilities(images)
    plan = Plan(tflite=directory / "a.tflite", onnx=directory / "a.onnx")
    exporting.export(source, plan)
    tflite, onnx = (open_artifact(path).probabilities(images) for path in (plan.tflite, plan.onnx))
    peak = peak_bytes()
    rounding = change_by_last_places(source.classifier, images) if model in SENSITIVE else 0.0
    return Answers(wanted, tflite, onnx, peak, rounding)


def change_by_last_places(classifier: Classifier, images: np.ndarray, draws: int = 5) -> float:
    """Returns the largest change of an answer when every weight becomes one of its neighbors."""
    random, wanted = np.random.default_rng(0), classifier.probabilities(images)
    kept = {name: variable.numpy() for name, variable in classifier.network.variables.items()}
    changes = []
    for _ in range(draws):
        for name, value in kept.items():
            towards = np.where(random.random(value.shape) < 0.5, -np.inf, np.inf)
            neighbors = np.nextafter(value, towards.astype(value.dtype))
            classifier.network.variables[name].assign(neighbors)
        classifier.take_weights()
        changes.append(np.abs(classifier.probabilities(images) - wanted).max())
    return float(max(changes))


def scale_logits(network: Network, images: np.ndarray) -> None:
    """Scales the last layer, so that the logits of the images are of size 1."""
    names = [name for name, variable in network.variables.items() if len(variable.shape) > 1]
    kernel = network.variables[names[-1]]
    logits = network(tf.constant(images), training=False).logits.numpy()
    kernel.assign(kernel / np.std(logits))
