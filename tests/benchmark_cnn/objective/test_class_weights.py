"""Class weights against scikit-learn, the mistakes of a file, and towers against one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from benchmark_cnn.interfaces import DataDescription
from benchmark_cnn.objective.class_weights import class_weights
from common.errors import DataError
from tests.benchmark_cnn.engine import EVERYTHING, run_steps
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, random_examples

NAMES = ["cat", "dog", "emu"]
WITH_HEADER = "class,weight\ncat,1\n\nemu, 4\ndog,2\n"
COUNTS = np.array([90, 9, 1])


def test_balanced_weights_are_scikit_learns():
    labels = np.repeat([0, 1, 2], COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    got = class_weights("balanced", NAMES, COUNTS)
    np.testing.assert_allclose(got.values, expected, rtol=1e-6)
    assert got.description == "class weights balanced: 0.37 (cat) to 33.3 (emu), mean 1"


def test_a_class_without_images_changes_no_other_weight():
    got = class_weights("balanced", ["ant", *NAMES], np.array([0, *COUNTS]))
    np.testing.assert_array_equal(got.values[1:], class_weights("balanced", NAMES, COUNTS).values)
    assert np.isfinite(got.values).all()


@pytest.mark.parametrize(
    "text",
    [
        '{"dog": 2, "cat": 1.0, "emu": 4}',
        "class,weight\ncat,1\n\nemu, 4\ndog,2\n",
        "emu,4\ncat,1\ndog,2",
    ],
    ids=["json", "csv with header", "csv"],
)
def test_weights_of_a_file_have_the_mean_1_over_the_images(tmp_path, text):
    path = tmp_path / "weights"
    path.write_text(text)
    mean = (90 * 1 + 9 * 2 + 1 * 4) / 100
    got = class_weights(str(path), NAMES, COUNTS).values
    np.testing.assert_allclose(got, np.array([1, 2, 4]) / mean, rtol=1e-6)
    equally = class_weights(str(path), NAMES, COUNTS, drawn_equally=True).values
    np.testing.assert_allclose(equally, np.array([1, 2, 4]) / (7 / 3), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"cat": 1, "dgo": 2}',
            "'dgo' is none of the 3 classes, cat, dog, emu; did you mean dog?",
        ),
        ('{"cat": 1}', "no weight for dog, emu; give every class one"),
        ('{"cat": 1, "cat": 2}', "'cat' is there twice"),
        ('{"cat": -1}', "the weight of 'cat' is -1; it must be a number, at least 0"),
        ('{"cat": true}', "the weight of 'cat' is True"),
        ("cat,one", "the weight of 'cat' is 'one'"),
        ("cat,1,2", "'cat,1,2' is not a class and its weight"),
        ('{"cat": 1', "not valid JSON"),
        ("", "no weight for cat, dog, emu"),
        ("cat,0\ndog,0\nemu,0", "a weight of 0 to every class"),
        ('{"cat": 1%s, "dog": 1, "emu": 1}' % ("0" * 400), "the weight of 'cat' is 1000"),
        ("cat,1\ndog," + "1" * 200_000 + "\nemu,1", "not valid CSV: field larger"),
        ("cat,1e-300\ndog,1e-300\nemu,1e300", "the weights differ by more than float32 holds"),
        (None, "No such file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "weights"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError) as error:
        class_weights(str(path), NAMES, COUNTS)
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


class Unbalanced(ArrayData):
    def describe(self):
        return DataDescription(self.name, ["a", "b", "c", "d", "e"])


def unbalanced():
    images, labels = random_examples(48)
    return Unbalanced(images, np.where(np.arange(48) % 3, 0, labels))


@pytest.mark.parametrize("weight", ["1e308", "5e-324"])
def test_only_the_proportions_of_weights_matter(tmp_path, weight):
    (tmp_path / "weights").write_text("".join(f"{name},{weight}\n" for name in NAMES))
    np.testing.assert_array_equal(
        class_weights(str(tmp_path / "weights"), NAMES, COUNTS).values, 1.0
    )


@pytest.mark.parametrize("loss", ["softmax", "bce", "focal"])
def test_weighted_towers_are_one_tower_on_the_global_batch(loss):
    flags = {**EVERYTHING, "loss": loss, "class_weights": "balanced", "data_dir": "photos"}
    runs = [
        run_steps(ConvNetwork, unbalanced(), steps=4, global_batch=16, num_gpus=towers, **flags)
        for towers in (1, 2)
    ]
    for one, two in zip(*(reports for reports, _ in runs), strict=True):
        assert two["cross_entropy"] == pytest.approx(one["cross_entropy"], rel=1e-5)
    for name, tensor in runs[0][1].items():
        np.testing.assert_allclose(runs[1][1][name], tensor, rtol=1e-5, atol=1e-5, err_msg=name)
    plain, _ = run_steps(
        ConvNetwork, unbalanced(), steps=1, global_batch=16, **{**flags, "class_weights": "none"}
    )
    assert plain[0]["cross_entropy"] != pytest.approx(runs[0][0][0]["cross_entropy"], rel=1e-3)
    assert plain[0]["top_1"] == runs[0][0][0]["top_1"]  # an accuracy has no weights


def test_an_evaluation_reports_the_loss_of_the_flags_without_weights():
    found = {}
    for key in (("softmax", "none"), ("softmax", "balanced"), ("bce", "none")):

        def evaluate(run, key=key):
            found[key] = run.evaluator.run()["loss"]

        flags = {"loss": key[0], "class_weights": key[1], "optimizer": "sgd", "data_dir": "photos"}
        run_steps(ConvNetwork, unbalanced(), steps=1, global_batch=16, prepare=evaluate, **flags)
    assert found["softmax", "none"] == found["softmax", "balanced"]
    assert found["bce", "none"] != found["softmax", "none"]
