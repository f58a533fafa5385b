"""Recognizes folders of splits by their names, in any case and spelling: Training, val_images."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from download_and_convert_imagenet.sources.folders.tree import Folder
from download_and_convert_imagenet.sources.image_source import TEST, TRAIN, VALIDATION

_WORDS = {
    TRAIN: "train training trn",
    VALIDATION: "validation validate validating valid val dev devel eval evaluation holdout",
    TEST: "test testing tst pred predict",
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words.split()}
# Words that say nothing about what a folder holds.
_NEUTRAL = frozenset(
    (
        *("set", "data", "dataset", "folder", "dir", "split"),
        *("sample", "image", "img", "photo", "picture", "pic"),
    )
)
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")


def kind_of(name: str) -> str | None:
    """Returns train, validation or test for the name of a split's folder, None for other names."""
    kind, others = _parse(name)
    return None if others else kind


def says_nothing(name: str) -> bool:
    """Returns whether a name has neutral words alone, as "images" or "data 2"."""
    return _parse(name) == (None, ()) and any(map(str.isalpha, name))


def split_folders(folders: Sequence[Folder]) -> dict[str, list[Folder]]:
    """Returns the folders that are named like splits, by kind.

    "seg_train" is a split if "seg_test" lies next to it.
    """
    found: dict[tuple[str, ...], dict[str, list[Folder]]] = defaultdict(lambda: defaultdict(list))
    for folder in folders:
        kind, others = _parse(folder.name)
        if kind is not None:
            found[others][kind].append(folder)
    splits: dict[str, list[Folder]] = defaultdict(list)
    for others, kinds in found.items():
        if not others or (TRAIN in kinds and len(kinds) > 1):
            for kind, members in kinds.items():
                splits[kind] += members
    return dict(splits)


def _parse(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Returns the kind of split that a name says, and its other words that are not neutral."""
    kinds, others = [], []
    for token in map(str.lower, _TOKEN.findall(name)):
        word = token if token in _KINDS else _without_neutral_end(token)
        if word in _KINDS:
            kinds.append(_KINDS[word])
        elif token.rstrip("s") not in _NEUTRAL and not token.isdigit():
            others.append(token)
    return (kinds[0] if len(kinds) == 1 else None), tuple(others)


def _without_neutral_end(token: str) -> str:
    """Returns "train" of "trainset" and "trainimages"."""
    singular = token.rstrip("s")
    ends = (end for end in _NEUTRAL if singular.endswith(end))
    return singular.removesuffix(max(ends, key=len, default=""))
