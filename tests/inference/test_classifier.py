"""The number of classes of a checkpoint, and checkpoints of other networks."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmark_cnn.params.params import write_parameters
from benchmark_cnn.params.validation import make_params
from checkpoints import bundle
from common.errors import DataError
from inference.classifier import Classifier
from models import registry
from models.pretrained import importing

# Two small networks, without and with a class for the background.
PLAIN, BACKGROUND = "lenet", "mobilenet_v1_relu"


def checkpoint(directory, model: str, num_classes: int):
    shapes = importing.network_shapes(model, num_classes)
    prefix = directory / "model.ckpt"
    bundle.write(prefix, {name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    return prefix


@pytest.mark.parametrize(
    ("model", "num_classes", "outputs"), [(PLAIN, 1001, 1001), (BACKGROUND, 999, 1000)]
)
def test_a_background_class_too_many_or_too_few_is_refused(tmp_path, model, num_classes, outputs):
    """The classes would be those of ImageNet moved by one."""
    prefix = checkpoint(tmp_path, model, num_classes)
    pattern = f"{re.escape(str(prefix))}: the checkpoint has {outputs} outputs, the network "
    with pytest.raises(DataError, match=pattern + r"\d+, so one of them may count a b") as caught:
        Classifier(model, prefix)
    advised = re.search(r"if it has (\d+) classes, --num_classes=(\d+)$", str(caught.value))
    assert advised
    assert advised.groups() == (str(num_classes), str(num_classes))
    assert Classifier(model, prefix, num_classes=num_classes).num_classes == num_classes
    with pytest.raises(DataError, match=f"has {num_classes} classes, --num_classes=1000"):
        Classifier(model, prefix, num_classes=1000)


@pytest.mark.parametrize(("model", "num_classes"), [(PLAIN, 1001), (BACKGROUND, 999)])
def test_a_run_on_as_many_classes_is_accepted(tmp_path, model, num_classes):
    prefix = checkpoint(tmp_path, model, num_classes)
    write_parameters(make_params(model=model, num_classes=num_classes), tmp_path)
    assert Classifier(model, prefix).num_classes == num_classes


def test_the_best_checkpoint_of_a_run_is_accepted(tmp_path, monkeypatch):
    """It lies one folder below the run's parameters."""
    write_parameters(make_params(model=PLAIN, num_classes=1001), tmp_path)
    prefix = checkpoint(tmp_path / "best", PLAIN, 1001)
    assert Classifier(PLAIN, prefix).num_classes == 1001
    monkeypatch.chdir(prefix.parent)
    assert Classifier(PLAIN, prefix.name).num_classes == 1001
    other = checkpoint(tmp_path / "other", PLAIN, 1001)
    with pytest.raises(DataError, match="may count a background"):
        Classifier(PLAIN, other)


@pytest.mark.parametrize("num_classes", [10, 1000])
def test_other_numbers_are_the_checkpoints(tmp_path, num_classes):
    assert Classifier(PLAIN, checkpoint(tmp_path, PLAIN, num_classes)).num_classes == num_classes


def test_only_one_of_the_networks_has_a_background_class():
    assert not registry.get(PLAIN).background_class
    assert registry.get(BACKGROUND).background_class
