from __future__ import annotations

import string

import pytest

from benchmark_cnn.interfaces import DataDescription
from benchmark_cnn.params.data_params import DataParams
from preprocessing.augmentation.mirrored_classes import doubtful_classes, note
from preprocessing.synthetic import SyntheticDataset


@pytest.mark.parametrize(
    ("names", "doubtful"),
    [
        (["cat", "dog"], []),
        (["upright piano", "bright", "copyright", "cleft"], []),
        (["turn_left", "go", "turn_right"], ["turn_left", "turn_right"]),
        (["handLeft", "RIGHT foot", "no"], ["handLeft", "RIGHT foot"]),
        (list("abcd"), list("abcd")),
        (["0", "1", "stop"], ["0", "1"]),
        (["x", "cat", "dog"], []),
        (["10", "11"], []),
    ],
)
def test_doubtful_classes(names, doubtful):
    assert doubtful_classes(names) == doubtful


class Letters(SyntheticDataset):
    def describe(self):
        return DataDescription("letters", tuple(string.ascii_lowercase))


def test_a_note_for_those_who_have_not_decided():
    letters = Letters("folder", 26, {}, synthetic=False)
    text = note(letters, DataParams())
    assert text is not None
    assert "a, b, c, d, ..." in text
    assert "--horizontal_flip=off" in text
    assert "\n" not in text
    for decided in (True, False):
        assert note(letters, DataParams(horizontal_flip=decided)) is None
    assert note(Letters("digits", 26, {}, synthetic=False), DataParams()) is None
    assert note(Letters("imagenet", 26, {}), DataParams()) is None
