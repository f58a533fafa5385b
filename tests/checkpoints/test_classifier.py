"""How many classes a checkpoint has, and which network it is therefore not of."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmark_cnn.params import make_params, write_parameters
from checkpoints import bundle, completeness
from checkpoints.classifier import Classifier
from checkpoints.errors import WeightsError
from models import registry

# Two small networks, without and with a class for the background.
PLAIN, BACKGROUND = "lenet", "mobilenet_v1_relu"


def checkpoint(tmp_path, model: str, num_classes: int):
    shapes = completeness.network_shapes(model, num_classes)
    prefix = tmp_path / "model.ckpt"
    bundle.write(prefix, {name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    return prefix


@pytest.mark.parametrize(
    ("model", "num_classes", "outputs"), [(PLAIN, 1001, 1001), (BACKGROUND, 999, 1000)]
)
def test_a_background_class_too_many_or_too_few_is_refused(tmp_path, model, num_classes, outputs):
    """The classes would be those of ImageNet moved by one."""
    prefix = checkpoint(tmp_path, model, num_classes)
    pattern = f"{re.escape(str(prefix))}: the checkpoint has {outputs} outputs, the network "
    with pytest.raises(WeightsError, match=pattern + r"\d+, so one of them counts a background"):
        Classifier(model, prefix)


@pytest.mark.parametrize(("model", "num_classes"), [(PLAIN, 1001), (BACKGROUND, 999)])
def test_a_run_on_as_many_classes_is_taken_at_its_word(tmp_path, model, num_classes):
    prefix = checkpoint(tmp_path, model, num_classes)
    write_parameters(make_params(model=model, num_classes=num_classes), tmp_path)
    assert Classifier(model, prefix).num_classes == num_classes


@pytest.mark.parametrize("num_classes", [10, 1000])
def test_other_numbers_are_the_checkpoints(tmp_path, num_classes):
    assert Classifier(PLAIN, checkpoint(tmp_path, PLAIN, num_classes)).num_classes == num_classes


def test_the_networks_are_what_they_are_here_for():
    assert not registry.get(PLAIN).background_class
    assert registry.get(BACKGROUND).background_class
