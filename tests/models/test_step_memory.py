"""The memory of an image in a training step: by hand, and in a process that trains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models import registry
from models.cost import activation_bytes
from models.network import Network
from tests.models import small_network

ROOT = Path(__file__).resolve().parents[2]
FLOAT = 4
CLASSES = 10


def build(name: str) -> Network:
    spec = registry.get(name)
    return spec.build(num_classes=CLASSES, image_size=spec.image_size)


def test_lenet():
    """Every layer's input and every ReLU's output; a pooling's output is the next layer's input."""
    pixels = 28 * 28 * 3
    convolutions = 28 * 28 * 32 + 14 * 14 * 64
    pooled = 14 * 14 * 32 + 7 * 7 * 64
    # The loss keeps its gradient, one value a class.
    kept = pixels + convolutions + pooled + 512 + CLASSES
    assert activation_bytes(build("lenet"), 28) == FLOAT * kept


def test_a_network_with_batch_norm():
    """Batch norm keeps its input, ReLU its output, which is the next convolution's input."""
    kept = 32 * 32 * 3
    for convolutions, side, filters in ((7, 32, 16), (6, 16, 32), (6, 8, 64)):
        kept += convolutions * 2 * side**2 * filters
    # What the strided convolutions see is padded first, and the classifier's input is pooled.
    kept += 34 * 34 * 16 + 18 * 18 * 32 + 64 + CLASSES
    assert activation_bytes(build("resnet20"), 32) == FLOAT * kept


def test_a_network_with_every_kind_of_layer():
    """One factor an image of stochastic depth is kept, and one a unit of dropout."""
    pixels, map_of_features = 8 * 8 * 3, 4 * 4 * 8
    # Stem: batch norm's input and ReLU's output; block: the batch norm's input.
    features = 3 * map_of_features
    # Dropout keeps a mask, one byte a unit; its output is the classifier's input.
    head = 8 + 4
    assert activation_bytes(small_network.build(), 8) == FLOAT * (pixels + features + head + 1) + 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch_sizes", "most"),
    [
        ("resnet20", (64, 256), 1.25),
        # At the end of its backward pass, gradients come on top of its largest activations.
        ("efficientnet_lite0", (4, 16), 1.4),
    ],
)
def test_what_a_training_process_takes(name, batch_sizes, most):
    """The kept tensors exist at the same time; temporary ones of the backward pass come on top."""
    peaks = []
    for batch_size in batch_sizes:
        command = [sys.executable, "-m", "tests.models.peak_memory", name, str(batch_size)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(result.stdout))
    measured = (peaks[1] - peaks[0]) / (batch_sizes[1] - batch_sizes[0])
    assert 0.98 < measured / activation_bytes(build(name), registry.get(name).image_size) < most
