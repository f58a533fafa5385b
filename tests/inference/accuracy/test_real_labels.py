"""ImageNet-ReaL against a loop over the images."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from common.errors import DataError
from download_and_convert_imagenet.sources.synsets import synsets, validation_labels
from inference.accuracy import real_labels, scores
from tests.inference.accuracy.artifacts import manifest, random_predictions, without

WORDNET_IDS = [synset.wnid for synset in synsets()]
NUMBERS = np.arange(300) * 7 + 1  # of validation images


@pytest.fixture(scope="module")
def predictions():
    """Of 300 of the 50,000 images, three of them missing."""
    labels = np.array(validation_labels())[NUMBERS - 1] - 1
    found = random_predictions(num_images=300, num_classes=1000, labels=labels)
    found = without(found, [4, 5, 6])
    return dataclasses.replace(
        found,
        images=np.array([f"n/ILSVRC2012_val_{number:08}.JPEG" for number in NUMBERS]),
        manifest=manifest(300, 1000, wordnet_ids=WORDNET_IDS),
    )


@pytest.fixture(scope="module")
def labels():
    """Every fifth image has none; the others have the label and up to two more classes."""
    random = np.random.default_rng(8)
    return [
        []
        if place % 5 == 0
        else [label - 1, *random.integers(0, 1000, random.integers(3)).tolist()]
        for place, label in enumerate(validation_labels())
    ]


def test_an_image_without_labels_is_left_out_and_any_label_is_correct(predictions, labels):
    changed = [list(entry) for entry in labels]
    second = int(predictions.classes[1, 1])
    changed[NUMBERS[1] - 1] = [
        second
    ]  # the label is correct, but the class in second place is meant
    found = real_labels.scores(predictions, scores.outcomes_of(predictions), changed)
    right = right_5 = total = 0
    for number, row in zip(NUMBERS, predictions.classes, strict=True):
        allowed = changed[number - 1]
        if allowed:
            total += 1
            right += row[0] in allowed
            right_5 += any(label in allowed for label in row)
    assert (found["images"], found["unlabeled"]) == (total, 300 - total)
    assert found["top_1"] == right / total
    assert found["top_5"] == right_5 / total
    assert found["missing"] == sum(bool(changed[NUMBERS[place] - 1]) for place in (4, 5, 6)) > 0
    assert found["top_1_interval"] == scores.wilson(int(right), total)


def test_other_networks_and_other_images_are_refused(predictions, labels):
    outcomes = scores.outcomes_of(predictions)
    other = dataclasses.replace(predictions, manifest=manifest(300, 1000))
    with pytest.raises(DataError, match="the network has other ones"):
        real_labels.scores(other, outcomes, labels)
    renamed = dataclasses.replace(outcomes, images=np.array(["tench.jpg"] * 300))
    with pytest.raises(DataError, match=r"tench\.jpg is none of them"):
        real_labels.scores(predictions, renamed, labels)


MISTAKES = {
    "no JSON": ("[[1], [", "is not valid JSON"),
    "a short list": ("[[1], [2]]", "a list of 50,000 lists"),
    "another form": ('{"1": [2]}', "a list of 50,000 lists"),
    "no list": (json.dumps([[]] * 41 + [7] + [[]] * 49_958), "entry 42 is no list of classes"),
    "no class": (json.dumps([[]] * 3 + [[1000]] + [[]] * 49_996), "entry 4 is no list of classes"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_file_of_another_kind_is_refused(tmp_path, mistake):
    text, message = MISTAKES[mistake]
    (tmp_path / "real.json").write_text(text)
    with pytest.raises(DataError, match=message):
        real_labels.read(tmp_path / "real.json")


def test_a_file_that_is_good_is_read(tmp_path, labels):
    (tmp_path / "real.json").write_text(json.dumps(labels))
    assert real_labels.read(tmp_path / "real.json") == labels
    with pytest.raises(DataError, match="cannot be read: No such file"):
        real_labels.read(tmp_path / "gone.json")
