"""Checkpoints of TF-Slim's own networks, written by TensorFlow 1, give the same logits here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.pretrained import importing

SCRIPT = Path(__file__).with_name("make_slim_checkpoint.py")
NUM_CLASSES = 10
# Slim's own heads pool over the feature map of one size, or, ResNet's, over any.
IMAGE_SIZES = {
    "inception_v1": 224,
    "resnet_v1_50": 64,
    "resnet_v2_50": 64,
    "inception_v2": 224,
    "inception_v3": 299,
    "alexnet_v2": 224,
    "overfeat": 231,
    "vgg_a": 224,
    "vgg_16": 224,
    "vgg_19": 224,
}
QUICK = ("inception_v1",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in IMAGE_SIZES],
)
def test_logits_are_those_of_the_graph(name, tmp_path):
    """All names are used, none is missing, and the logits are equal."""
    image_size, background = IMAGE_SIZES[name], int(registry.get(name).background_class)
    arguments = [name, NUM_CLASSES + background, image_size, tmp_path]
    # A process that has imported models.slim has its layers in the place of slim's own.
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tensors = importing.read(tmp_path / "model.ckpt", name, num_classes=NUM_CLASSES)
    network = registry.get(name).build(num_classes=NUM_CLASSES, image_size=image_size)
    for key, variable in network.variables.items():
        variable.assign(tensors[key])
    with np.load(tmp_path / "reference.npz") as reference:
        wanted = reference["logits"]
        found = network(reference["images"], training=False).logits
    assert wanted.std() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
