"""What the classes are called: ImageNet's 1000 in English, or a file of one's own.

imagenet_labels.txt holds the synsets of ILSVRC 2012 in the order of their classes with their words
from WordNet 3.0, under the licence in imagenet_labels_license.txt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from checkpoints.errors import WeightsError

_IMAGENET_FILE = Path(__file__).with_name("imagenet_labels.txt")
IMAGENET_CLASSES = 1000


def imagenet() -> list[str]:
    """The words for each of the 1000 classes, class 0 first: "tench, Tinca tinca"."""
    return [words for _, words in _imagenet()]


def imagenet_synsets() -> list[str]:
    """WordNet's number for each of the 1000 classes, class 0 first: "n01440764"."""
    return [synset for synset, _ in _imagenet()]


def _imagenet() -> list[tuple[str, str]]:
    lines = _IMAGENET_FILE.read_text(encoding="utf-8").splitlines()
    return [(synset, words) for synset, words in (line.split("\t") for line in lines)]


def read_map(path: str | os.PathLike[str]) -> dict[int, str]:
    """Class -> label of a JSON file, `{"0": "tench", ...}` or `["tench", ...]`.

    Raises:
      WeightsError: no such file, or of another form.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"labels {path}: {error.strerror}") from error
    except ValueError as error:
        raise WeightsError(f"labels {path} is not JSON: {error}") from error
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        raise WeightsError(f'labels {path}: must be {{"0": "label", ...}} or a list of labels')
    try:
        return {int(number): str(label) for number, label in content.items()}
    except ValueError:
        raise WeightsError(f"labels {path}: its keys must be class numbers") from None


def for_classes(num_classes: int, names: Mapping[int, str]) -> list[str]:
    """A label for each class: of `names` where it has one, else "class 0", "class 1"..."""
    return [names.get(number, f"class {number}") for number in range(num_classes)]
