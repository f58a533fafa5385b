"""Matches the classes of a data set to those of a network: by WordNet id, then by name.

A data set may have a part of the network's classes, in another order, as Imagenette has ten of
ImageNet's thousand.
"""

from __future__ import annotations

import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from common.errors import DataError
from inference import class_names
from inference.predictions.sources.dataset import DataSet
from inference.predictions.table import UNKNOWN_CLASS


def network_classes(
    data: DataSet, names: Sequence[str], wordnet_ids: Sequence[str], model: str
) -> np.ndarray:
    """Returns the network's class of each class of the data set: int32 [classes of the data set].

    A class without images that the network does not know is -1. Only where the network's or the
    data set's classes have no names, and both have as many, the order counts, with a warning.

    Args:
        names: of the network's classes, class 0 first.
        wordnet_ids: of the network's classes; empty if they have none.
        model: the network, for messages.

    Raises:
        DataError: the network does not know a class that has images.
    """
    if _is_unnamed(names) or _is_unnamed(data.class_names):
        return _by_position(data, names, model)
    if tuple(names) == data.class_names:
        return np.arange(len(names), dtype=np.int32)
    by_id = {wnid: number for number, wnid in enumerate(wordnet_ids)}
    by_name = _unique(_forms(names, _whole))
    by_synonym = _unique(_forms(names, _synonyms))
    found = np.full([len(data.class_names)], UNKNOWN_CLASS, np.int32)
    ids = data.wordnet_ids or [""] * len(found)
    for label, (name, wnid) in enumerate(zip(data.class_names, ids, strict=True)):
        if wnid and by_id:
            number = by_id.get(wnid)
        else:
            number = by_name.get(_whole(name)[0], by_synonym.get(_whole(name)[0]))
        found[label] = UNKNOWN_CLASS if number is None else number
    for label in {image.label for image in data.images}:
        if found[label] == UNKNOWN_CLASS:
            wnid = f"{ids[label]} " if ids[label] else ""
            raise DataError(
                f"the class {wnid}({data.class_names[label]}) of {data.directory} is none of the "
                f"{len(names):,} classes of {model}: give a data set of its classes, or name them "
                "as the data set does with --labels_map_file"
            )
    _refuse_twice(found, data, names)
    return found


def _by_position(data: DataSet, names: Sequence[str], model: str) -> np.ndarray:
    if len(names) != len(data.class_names):
        raise DataError(
            f"{data.directory} has {len(data.class_names):,} classes and {model} {len(names):,}, "
            "and they have no names in common: name the network's with --labels_map_file"
        )
    print(
        f"warning: the classes of {model} have no names: they are taken to be those of "
        f"{data.directory} in its order",
        file=sys.stderr,
        flush=True,
    )
    return np.arange(len(names), dtype=np.int32)


def _is_unnamed(names: Sequence[str]) -> bool:
    return list(names) == class_names.for_classes(len(names), {})


def _refuse_twice(found: np.ndarray, data: DataSet, names: Sequence[str]) -> None:
    labels = defaultdict(list)
    for label, number in enumerate(found.tolist()):
        if number != UNKNOWN_CLASS:
            labels[number].append(data.class_names[label])
    for number, same in labels.items():
        if len(same) > 1:
            raise DataError(
                f"{data.directory}: the classes {same[0]} and {same[1]} are both {names[number]!r} "
                "to the network: rename one"
            )


def _whole(name: str) -> list[str]:
    """Returns a name in the form in which names are compared: "golden retriever"."""
    return [" ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").split())]


def _synonyms(name: str) -> list[str]:
    """Returns the parts of "tench, Tinca tinca"."""
    return sorted({part for words in name.split(",") for part in _whole(words)})


def _forms(names: Sequence[str], forms) -> Iterable[tuple[str, int]]:
    return ((form, number) for number, name in enumerate(names) for form in forms(name))


def _unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Returns form -> class, without the forms that stand for several classes."""
    found: dict[str, list[int]] = defaultdict(list)
    for form, number in pairs:
        found[form].append(number)
    return {form: numbers[0] for form, numbers in found.items() if len(numbers) == 1}
