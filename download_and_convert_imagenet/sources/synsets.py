"""The 1,000 classes of ILSVRC 2012, and the classes of its 50,000 validation images.

Both lists were written for this project; data/imagenet_data_sources.md says from what, and under
which license. They are read as package data, so that they are found in a zip file as well.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

_PACKAGE = __name__.removesuffix(".sources.synsets")
_SYNSETS_FILE = "imagenet_synsets.txt"
_VALIDATION_FILE = "imagenet_validation_labels.txt"


@dataclass(frozen=True)
class Synset:
    """A class by its WordNet identifier, `n01440764`, and the words for it."""

    wnid: str
    words: str


@functools.lru_cache(maxsize=1)
def synsets() -> tuple[Synset, ...]:
    """Returns all classes in the order of their labels: the one with label 1 first."""
    lines = _package_text(_SYNSETS_FILE).splitlines()
    return tuple(Synset(*line.split("\t")) for line in lines)


@functools.lru_cache(maxsize=1)
def labels_by_wnid() -> dict[str, int]:
    """Returns the label, 1 to 1000, of each WordNet identifier."""
    return {synset.wnid: label for label, synset in enumerate(synsets(), start=1)}


@functools.lru_cache(maxsize=1)
def validation_labels() -> tuple[int, ...]:
    """Returns the labels, 1 to 1000, of ILSVRC2012_val_00000001.JPEG, ..._00000002.JPEG, ..."""
    return tuple(int(line) for line in _package_text(_VALIDATION_FILE).splitlines())


def _package_text(name: str) -> str:
    return resources.files(_PACKAGE).joinpath("data").joinpath(name).read_text(encoding="utf-8")
